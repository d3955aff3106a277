"""Runner: train a learner on one task, evaluate it on some, and store its prompt and its result line."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from vlprompt.config import make_config
from vlprompt.data.features import FeatureStore
from vlprompt.data.identity import Contents
from vlprompt.data.task import Task
from vlprompt.errors import VlpromptError
from vlprompt.experiments import results_file, shards
from vlprompt.experiments.plan import Plan, Tasks, check_possible
from vlprompt.experiments.record import Summary, completed, save_predictions
from vlprompt.experiments.results import Result
from vlprompt.experiments.results_file import ResultsFile
from vlprompt.experiments.spec import LearnerSpec
from vlprompt.files import alone, reason
from vlprompt.learner import PromptLearner
from vlprompt.training.callbacks import ProgressBar
from vlprompt.training.config import TrainConfig
from vlprompt.training.distributed import SINGLE, Processes
from vlprompt.training.evaluate import Scores, evaluate
from vlprompt.training.fit import fit
from vlprompt.training.resume import TrainReport


@dataclass(frozen=True)
class Runner:
    """Where runs happen and where their results go.

    Attributes:
        backbone: The frozen model.
        out: Folder of `results.jsonl`, `prompts/` and the states of unfinished runs.
        store: Features of the frozen model.
        training: Training settings that replace the recipe's ("augment", "epochs", ...).
        workers: Processes that decode images.
        fresh: Repeat runs that have a result.
        quiet: Show no progress bars.
        results: A file for result lines instead of `results.jsonl` in `out`.
        processes: The processes that train together; the first one evaluates, writes, and sends the result.
        shard: Evaluate only this part of each stream; the process that completes the stream writes the result.
    """

    backbone: Any
    out: Path
    store: FeatureStore
    training: Mapping[str, Any] = field(default_factory=dict)
    workers: int = 0
    fresh: bool = False
    quiet: bool = False
    results: Path | None = None
    processes: Processes = SINGLE
    shard: shards.Shard | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for training settings that cannot work."""
        make_config(TrainConfig, self.training)

    @property
    def results_file(self) -> Path:
        """Where result lines go."""
        return self.results or self.out / "results.jsonl"

    @cached_property
    def _stored(self) -> ResultsFile:
        """What is in the file of results."""
        return ResultsFile(self.results_file)

    @cached_property
    def _contents(self) -> Contents:
        """The identity of data."""
        return Contents(self.store)

    def check(self, specs: Sequence[LearnerSpec], train: Task, test_tasks: Tasks | None = None) -> None:
        """Raise UsageError where `run` would refuse one of the specs; call it before the first run."""
        for spec in specs:
            self.build(spec, train, test_tasks or {"": train}, seed=0)

    def run(
        self,
        protocol: str,
        spec: LearnerSpec,
        train: Task,
        test_tasks: Tasks | None = None,
        *,
        shots: int,
        seed: int,
        before: bool = False,
        notes: Mapping[str, Any] | None = None,
        summary: Summary | None = None,
    ) -> Result:
        """Train and evaluate, or find the result of an equal run in `results_file`.

        Args:
            protocol: The protocol's name, for the result.
            spec: What to train.
            train: The task to train on.
            test_tasks: Tasks to evaluate on, by the prefix of their metrics ("" for none); None: `train` itself.
            shots: Examples per class, for the result.
            seed: Of everything random.
            before: Also evaluate the learner before it adapts to test images, with metrics `before_...`.
            notes: More to store in the result.
            summary: Computes more metrics from those of all parts.

        Raises:
            UsageError: The learner cannot do this; before any training starts.
            ShardsMissingError: Only a shard was evaluated, and others are missing.
        """
        test_tasks = test_tasks or {"": train}
        learner = self.build(spec, train, test_tasks, seed=seed)
        tasks = [train, *test_tasks.values()]
        for task in test_tasks.values():
            self._contents.warn_of_leaks(train, task)
        plan = self.plan(protocol, spec, learner, train, tasks, shots=shots, seed=seed)

        def work() -> Result:
            report = self.fit(plan, train)
            if not self.processes.is_first:
                return Result.from_json(self.processes.broadcast_text(""))
            with self._scores(plan, train, test_tasks, before=before) as scores:
                return self.save(plan, test_tasks, scores, report, notes=notes, summary=summary)

        return self.once(plan, work)

    def plan(
        self,
        protocol: str,
        spec: LearnerSpec,
        learner: PromptLearner[Any, Any],
        task: Task,
        tasks: Sequence[Task],
        *,
        shots: int,
        seed: int,
    ) -> Plan:
        """A run before any of it is done; arguments as of `Plan.make`."""
        own = (self.backbone, self._contents, self.training)
        return Plan.make(*own, protocol, spec, learner, task, tasks, shots=shots, seed=seed)

    def build(self, spec: LearnerSpec, train: Task, test_tasks: Tasks, *, seed: int) -> PromptLearner[Any, Any]:
        """The learner to train, after checking that it can be trained and evaluated.

        Raises:
            UsageError: With the learner's reason.
        """
        learner = spec.trained.kind.for_task(self.backbone, train, spec.trained.config, seed=seed)
        check_possible(spec.wrap(learner), train, test_tasks)
        return learner

    def once(self, plan: Plan, work: Callable[[], Result]) -> Result:
        """The result of an equal run; or else that of `work`, which one process at a time does.

        Raises:
            VlpromptError: The output folder cannot be written.
        """
        if done := self._find(plan):
            return done
        with self._claimed(plan):
            return self._find(plan) or work()

    def _find(self, plan: Plan) -> Result | None:
        """The result of an equal run, if there is one and it is not to be repeated."""
        done = None if self.fresh else self._stored.latest(plan.result.key)
        line = self.processes.broadcast_text(done.to_json() if done else "")
        return Result.from_json(line) if line else None

    @contextmanager
    def _claimed(self, plan: Plan) -> Iterator[None]:
        """Let other processes with the same run wait for its result. Shards of a run are evaluated at the same time."""
        if self.shard or not self.processes.is_first:
            yield
            return
        lock = self.state_path(plan, ".lock")
        waiting = f"another process runs {plan.folder}; waiting for its result."
        with ExitStack() as stack:
            try:
                stack.enter_context(alone(lock, waiting))
            except OSError as error:
                raise VlpromptError(
                    f"the folder {self.out} cannot be written ({reason(error)}); check the path and its permissions, "
                    "or give another output folder."
                ) from error
            stack.callback(_delete, lock)
            yield

    def state_path(self, plan: Plan, ending: str = "") -> Path:
        """Where the state of an unfinished run is stored: a folder, or the start of file names."""
        return self.out / "unfinished" / f"{plan.result.key}{ending}"

    def fit(self, plan: Plan, train: Task, part: str = "") -> TrainReport:
        """Train a run's learner on a task; an interrupted training continues where it stopped.

        Args:
            plan: The run.
            train: The task to train on.
            part: The name of this training, where the run has several.
        """
        path = self.state_path(plan, f"-{part}" if part else "")
        label = " ".join(filter(None, (plan.spec.label, f"seed {plan.config.seed}", part)))

        def training() -> TrainReport:
            with ExitStack() as stack:
                bars = [stack.enter_context(closing(bar)) for bar in self._progress(label, plan.config)]
                own = partial(fit, store=self.store, workers=self.workers, processes=self.processes)
                return own(plan.learner, train, plan.config, callbacks=bars, state=path.with_suffix(".safetensors"))

        return shards.trained_once(plan.learner, path, training) if self.shard and plan.spec.trains else training()

    def evaluate(
        self, learner: PromptLearner[Any, Any], train: Task, test_tasks: Tasks, *, before: bool = False
    ) -> dict[str, Scores]:
        """Scores by the prefix of their metrics; with `before` also those without adapting to test images."""
        scores, earlier = {}, {}
        for part, task in test_tasks.items():
            if not (learner.why_classes_fixed or task is train):
                learner.begin_task(task)
            if before:
                name = f"{part}_before" if part else "before"
                earlier[name] = evaluate(learner, task, store=self.store, test_time=False, workers=self.workers)
            scores[part] = evaluate(learner, task, store=self.store, workers=self.workers)
        return scores | earlier

    def save(
        self,
        plan: Plan,
        test_tasks: Tasks,
        scores: Mapping[str, Scores],
        report: TrainReport,
        *,
        notes: Mapping[str, Any] | None = None,
        summary: Summary | None = None,
    ) -> Result:
        """Save the prompt of a run and append its result; save predictions where no label is known.

        Args:
            plan: The run.
            test_tasks: The tasks that it was evaluated on, by the prefix of their metrics.
            scores: What `evaluate` returned.
            report: On the training.
            notes: More to store in the result.
            summary: Computes more metrics from those of all parts.
        """
        for part, task in test_tasks.items():
            if not scores[part].metrics:
                save_predictions(self.out / "predictions" / f"{plan.folder}{part}.csv", task, scores[part])
        plan.learner.save(self.out / "prompts" / plan.folder)
        count = self.processes.size
        extra = {**(notes or {}), **({"processes": count} if count > 1 else {})}
        done = completed(replace(plan.result, extra=extra), test_tasks, scores, report, summary)
        results_file.append(self.results_file, done)
        self.processes.broadcast_text(done.to_json())
        return done

    @contextmanager
    def _scores(self, plan: Plan, train: Task, test_tasks: Tasks, *, before: bool) -> Iterator[dict[str, Scores]]:
        """The scores of a trained run; with shards the joined ones, which are deleted once the block has saved them.

        Raises:
            ShardsMissingError: Some shards are missing.
        """
        learner = plan.spec.wrap(plan.learner)
        if self.shard is None:
            yield self.evaluate(learner, train, test_tasks, before=before)
            return
        (stream,) = test_tasks.values()
        shard, folder = self.shard.limited(learner, stream), self.state_path(plan)
        if not shards.is_saved(folder, shard):
            own = {part: shard.of(learner, task) for part, task in test_tasks.items()}
            shards.save(folder, shard, self.evaluate(learner, train, own, before=before))
        with shards.joined(folder, shard.count) as scores:
            yield scores

    def _progress(self, label: str, config: TrainConfig) -> list[ProgressBar]:
        """A progress bar, where it is wanted; its length is unknown where steps are the limit."""
        if self.quiet or not config.epochs or not self.processes.is_first:
            return []
        return [ProgressBar(None if config.steps else config.epochs, label)]


def _delete(lock: Path) -> None:
    """Delete the file of a lock that is held: a process that waits for it will find the result of the run."""
    with suppress(OSError):  # Windows deletes no open file; there it stays, empty
        lock.unlink()
