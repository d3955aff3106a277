"""One cell of a table: a learner trained on one task, judged on some, kept as a prompt and a result line."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from vlprompt import feed, learners, results, shares
from vlprompt.data.features import FeatureStore
from vlprompt.data.task import Task
from vlprompt.entry import Entry
from vlprompt.errors import UsageError
from vlprompt.evaluate import Scores, evaluate
from vlprompt.learners.base import PromptLearner
from vlprompt.locks import alone
from vlprompt.outcome import Summary, complete, joint_hash, keep_predictions, without_path
from vlprompt.parallel import ALONE, Team
from vlprompt.recipe import TrainConfig
from vlprompt.results import Result
from vlprompt.track import Console, Silent, Tracker
from vlprompt.train import TrainReport, fit

__all__ = ["Bench", "Entry", "Plan", "Summary", "keep_predictions", "refuse", "transfer"]


@dataclass(frozen=True)
class Bench:
    """Where runs happen and what they leave behind.

    Attributes:
        backbone: The frozen model.
        out: Folder of `results.jsonl`, `prompts/` and the states of unfinished runs.
        store: Features of the frozen model.
        training: Training settings that replace the recipe's ("augment", "epochs", ...).
        workers: Processes that decode images.
        fresh: Run again what already has a result.
        quiet: No progress bars.
        results: Where result lines go instead of `results.jsonl` in `out`.
        team: The processes that train together; the first judges, writes and tells the others.
        share: Judge only this part of each stream, and leave the result to whoever judges the last part.
    """

    backbone: Any
    out: Path
    store: FeatureStore
    training: Mapping[str, Any] = field(default_factory=dict)
    workers: int = 0
    fresh: bool = False
    quiet: bool = False
    results: Path | None = None
    team: Team = ALONE
    share: shares.Share | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for training settings that cannot work."""
        learners.make_config(TrainConfig, self.training)

    def check(self, entry: Entry, train: Task, judged: Mapping[str, Task]) -> None:
        """Say before anything runs what an entry cannot do.

        Raises:
            UsageError: With the learner's reason.
        """
        self.build(entry, train, judged, seed=0)

    def run(
        self,
        protocol: str,
        entry: Entry,
        train: Task,
        judged: Mapping[str, Task],
        *,
        shots: int,
        seed: int,
        before: bool = False,
        notes: Mapping[str, Any] | None = None,
        summary: Summary | None = None,
    ) -> Result:
        """Train and judge, or find the result of the same run in `results.jsonl`.

        Args:
            protocol: The protocol's name, for the result.
            entry: What to train.
            train: The task to train on.
            judged: Tasks to judge on, by the prefix of their metrics ("" for none).
            shots: Images a class, for the result.
            seed: Of everything random.
            before: Judge it also before it adapts to the test images, with metrics `before_...`.
            notes: What else to keep in the result.
            summary: Metrics made of all parts', added to them.

        Raises:
            UsageError: The learner cannot do this; before any training starts.
            OthersMissingError: Only a share was judged, and others are missing.
        """
        learner = self.build(entry, train, judged, seed=seed)
        plan = self.plan(protocol, entry, learner, train, [train, *judged.values()], shots=shots, seed=seed)
        if known := self.known(plan):
            return known
        report = self.fit(plan, train)
        if told := None if self.team.leads else self._told(None):
            return told
        finish = partial(self._finish, plan, report, judged, notes, summary)
        whole = entry.around(learner)
        if self.share:
            return self._judge_share(self.share, whole, train, judged, finish, place=self.place(plan), before=before)
        return finish(*self.judge(whole, train, judged, before=before))

    def plan(
        self,
        protocol: str,
        entry: Entry,
        learner: PromptLearner[Any],
        task: Task,
        tasks: Sequence[Task],
        *,
        shots: int,
        seed: int,
    ) -> "Plan":
        """What a run is, before anything of it is done.

        Args:
            protocol: The protocol's name.
            entry: The row of the table.
            learner: What is trained of it.
            task: The task that the result is named after.
            tasks: All that it learns from and is judged on, for the split hash.
            shots: Images a class.
            seed: Of everything random.
        """
        config = self._training(entry.parts[-1], shots, task.name, seed)
        result = self._describe(protocol, entry, learner, config, task, tasks, shots, seed)
        return Plan(entry, learner, config, result, _folder(protocol, entry, task, shots, seed))

    def known(self, plan: "Plan") -> Result | None:
        """The result of an equal run, if there is one and it is not to be run again."""
        absent = self.fresh or not self.results_file.exists()
        return self._told(None if absent else results.latest(results.read(self.results_file), plan.result.key))

    def place(self, plan: "Plan", ending: str = "") -> Path:
        """Where what there is of an unfinished run is kept: a folder, or files with its name and a suffix."""
        return self.out / "unfinished" / f"{plan.result.key}{ending}"

    def fit(self, plan: "Plan", train: Task, part: str = "") -> TrainReport:
        """Train a run's learner on a task, going on from where an interrupted run was.

        Args:
            plan: The run.
            train: The task to train on.
            part: Which of the run's trainings this is, where there are several.
        """
        place = self.place(plan, f"-{part}" if part else "")
        label = " ".join(filter(None, (plan.entry.label, f"seed {plan.config.seed}", part)))

        def training() -> TrainReport:
            state = place.with_suffix(".safetensors")
            with closing(self._tracker(label, plan.config)) as tracker:
                own = partial(fit, state=state, workers=self.workers, team=self.team)
                return own(plan.learner, train, plan.config, store=self.store, tracker=tracker)

        return shares.trained_once(plan.learner, place, training) if self.share and plan.entry.learns else training()

    def keep(
        self,
        plan: "Plan",
        scores: Mapping[str, Scores],
        report: TrainReport,
        *,
        earlier: Mapping[str, Scores] | None = None,
        notes: Mapping[str, Any] | None = None,
        summary: Summary | None = None,
    ) -> Result:
        """Save the prompt of a run and append its result.

        Args:
            plan: The run.
            scores: Of every part that was judged.
            report: On its training.
            earlier: Scores from before it adapted to the test images.
            notes: What else to keep in the result.
            summary: Metrics made of all parts', added to them.
        """
        plan.learner.save(self.out / "prompts" / plan.folder)
        extra = {**(notes or {}), **({"processes": self.team.size} if self.team.size > 1 else {})}
        done = complete(replace(plan.result, extra=extra), scores, earlier or {}, report, summary)
        results.append(self.results_file, done)
        self._told(done)
        return done

    def _finish(
        self,
        plan: "Plan",
        report: TrainReport,
        judged: Mapping[str, Task],
        notes: Mapping[str, Any] | None,
        summary: Summary | None,
        scores: Mapping[str, Scores],
        earlier: Mapping[str, Scores],
    ) -> Result:
        """Keep what came out, and predictions where nothing could be measured."""
        for part, task in judged.items():
            if not scores[part].metrics:
                keep_predictions(self.out / "predictions" / f"{plan.folder}{part}.csv", task, scores[part])
        return self.keep(plan, scores, report, earlier=earlier, notes=notes, summary=summary)

    def _judge_share(
        self,
        share: shares.Share,
        learner: PromptLearner[Any],
        train: Task,
        judged: Mapping[str, Task],
        finish: Callable[[Mapping[str, Scores], Mapping[str, Scores]], Result],
        *,
        place: Path,
        before: bool,
    ) -> Result:
        """Judge a part of each stream; once all parts are there, finish the run, by one process only.

        Raises:
            OthersMissingError: Some are not.
        """
        (stream,) = judged.values()
        share = share.within(learner, stream)
        if not shares.is_kept(place, share):
            own = {part: share.of(learner, task) for part, task in judged.items()}
            scores, earlier = self.judge(learner, train, own, before=before)
            shares.keep(place, share, scores | earlier)
        with alone(place.with_suffix(".joining")):
            found = shares.joined(place, share.count)
            earlier = {part: scores for part, scores in found.items() if part not in judged}
            done = finish({part: found[part] for part in judged}, earlier)
            shares.drop(place)
        return done

    def judge(
        self, learner: PromptLearner[Any], train: Task, judged: Mapping[str, Task], *, before: bool = False
    ) -> tuple[dict[str, Scores], dict[str, Scores]]:
        """Scores by part, and those before the learner adapted where they are asked for."""
        scores, earlier = {}, {}
        for part, task in judged.items():
            if not (learner.keeps_classes or task is train):
                learner.begin_task(task)
            if before:
                earlier[f"{part}_before" if part else "before"] = evaluate(learner, task, store=self.store, adapt=False)
            scores[part] = evaluate(learner, task, store=self.store)
        return scores, earlier

    def build(self, entry: Entry, train: Task, judged: Mapping[str, Task], *, seed: int) -> PromptLearner[Any]:
        """The learner that is to be trained, after checking that the whole entry can be judged."""
        last = entry.parts[-1]
        learner = last.kind.for_task(self.backbone, train, last.config, seed=seed)
        refuse(entry.around(learner), train, judged)
        return learner

    def _training(self, entry: Entry, shots: int, task: str, seed: int) -> TrainConfig:
        """The recipe with this run's changes; a method that is solved has nothing to change."""
        recipe = vars(entry.published.recipe(shots, task))
        changes = self.training if recipe["epochs"] else {}
        config: TrainConfig = learners.make_config(TrainConfig, {**recipe, **changes, "seed": seed})
        return config

    @property
    def results_file(self) -> Path:
        """Where result lines go."""
        return self.results or self.out / "results.jsonl"

    def _told(self, result: Result | None) -> Result | None:
        """What the first of several processes knows, for all of them."""
        line = self.team.told(result.to_json() if result else "")
        return Result.from_json(line) if line else None

    def _tracker(self, label: str, config: TrainConfig) -> Tracker:
        if self.quiet or not config.epochs or not self.team.leads:
            return Silent()
        return Console(config.epochs if not config.steps else None, label)  # unknown here where steps are the limit

    def _describe(
        self,
        protocol: str,
        entry: Entry,
        learner: PromptLearner[Any],
        config: TrainConfig,
        task: Task,
        tasks: Sequence[Task],
        shots: int,
        seed: int,
    ) -> Result:
        """The result line as far as it is known before training."""
        return Result(
            protocol=protocol,
            learner=entry.method,
            variant=" ".join(entry.label.split(" ")[1:]),
            backbone=without_path(self.backbone.name),
            fingerprint=self.backbone.fingerprint,
            precision=self.backbone.precision,
            task=task.name,
            split_hash=joint_hash(tasks),
            classes=len(task.classes),
            shots=shots,
            seed=seed,
            config=asdict(entry.around(learner).config) | _below(entry, learner),
            train_config=asdict(config) if config.epochs else {},
            augment=config.augment,
            backbone_parameters=sum(p.numel() for p in self.backbone.parameters()),
            versions=results.versions(),
        )


@dataclass(frozen=True)
class Plan:
    """A run before anything of it is done.

    Attributes:
        entry: The row of the table.
        learner: What is trained of it.
        config: How.
        result: The result line as far as it is known.
        folder: What its prompt and predictions are called.
    """

    entry: Entry
    learner: PromptLearner[Any]
    config: TrainConfig
    result: Result
    folder: str


def _below(entry: Entry, learner: PromptLearner[Any]) -> dict[str, Any]:
    """The configurations of what an entry is over, if it is over anything."""
    if entry.over is None:
        return {}
    return {"over": asdict(entry.over.around(learner).config) | _below(entry.over, learner)}


def _folder(protocol: str, entry: Entry, task: Task, shots: int, seed: int) -> str:
    """Where a prompt is kept, readable: few_shot/digits/coop-16shot-seed1."""
    row = re.sub(r"[^A-Za-z0-9.=_-]+", "-", entry.label)
    return f"{protocol}/{task.name}/{row}-{'all' if shots == results.ALL_SHOTS else shots}shot-seed{seed}"


def refuse(learner: PromptLearner[Any], train: Task, judged: Mapping[str, Task]) -> None:
    """Say before training what would fail after it.

    Raises:
        UsageError: The learner needs unlabelled images and there are none; or a judged task has other classes than the
            learner keeps, or no test images.
    """
    feed.need_unlabelled(learner, train)
    for task in judged.values():
        if learner.keeps_classes and not set(task.classes) <= set(train.classes):
            raise UsageError(
                f"{learner.method()} cannot be judged on classes it was not trained for: {learner.keeps_classes}."
            )
        if not task.test:
            raise UsageError(f"{task.name} has no test images.")


def transfer(
    bench: Bench,
    protocol: str,
    source: Task,
    targets: Sequence[Task],
    entries: Sequence[Entry],
    shots: int,
    seeds: Sequence[int],
) -> Iterator[Result]:
    """Train on few shots of one task, judge on it and on others: one result per entry and seed, `TASK_top1` each.

    Raises:
        UsageError: No target, two tasks of one name, or an entry that cannot do this; before anything runs.
    """
    judged = {task.name: task for task in (source, *targets)}
    if not targets or len(judged) != len(targets) + 1:
        raise UsageError("give one target or more, each with a name of its own, none of them the source's.")
    for entry in entries:
        bench.check(entry, source, judged)
    for entry in entries:
        for seed in seeds if entry.learns else (0,):
            drawn = source.few_shot(shots, seed) if entry.learns else source
            judged[source.name] = drawn
            yield bench.run(protocol, entry, drawn, judged, shots=shots * entry.learns, seed=seed)
