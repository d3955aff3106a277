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
from vlprompt.errors import UsageError
from vlprompt.evaluate import Scores, evaluate
from vlprompt.learners.base import PromptLearner, Reads, Variant
from vlprompt.locks import alone
from vlprompt.outcome import complete, joint_hash, keep_predictions, without_path
from vlprompt.parallel import ALONE, Team
from vlprompt.recipe import TrainConfig
from vlprompt.results import Result
from vlprompt.track import Console, Silent, Tracker
from vlprompt.train import TrainReport, fit


@dataclass(frozen=True)
class Entry:
    """One row of a table: a method in one of its published settings, some of them changed.

    Attributes:
        method: The learner's name.
        variant: The name of a published setting.
        config: The method's configuration.
        published: The setting it started from.
        changed: Names of what was changed, for the label.
        over: What is trained first, for a method that adapts another to each test image.
    """

    method: str
    variant: str
    config: Any
    published: Variant
    changed: Mapping[str, Any] = field(default_factory=dict)
    over: "Entry | None" = None

    @classmethod
    def parse(cls, text: str, settings: Mapping[str, Mapping[str, Any]] | None = None) -> "Entry":
        """Read "coop", "coop:cocoop-paper" or, for a method over a trained one, "tpt+coop:cocoop-paper".

        Args:
            text: Methods, each with the name of a published setting after a colon, the trained one last.
            settings: Changed settings by method name.

        Raises:
            UsageError: No such method, published setting or setting.
        """
        outer, plus, inner = text.partition("+")
        method, _, which = outer.partition(":")
        name, published = learners.variant(method, which)
        changed = dict((settings or {}).get(method, {}))
        config = learners.make_config(type(published.config), {**vars(published.config), **changed})
        return cls(method, name, config, published, changed, cls.parse(inner, settings) if plus else None)

    @property
    def label(self) -> str:
        """How the row is named: the variant where it is not the first, what was changed, and what it is over."""
        extra = [] if self.variant == next(iter(learners.variants(self.method))) else [self.variant]
        extra += [f"{key}={value}" for key, value in sorted(self.changed.items())]
        return " ".join([self.method, *extra, *(["over", self.over.label] if self.over else [])])

    @property
    def kind(self) -> type[PromptLearner[Any]]:
        """The learner's class."""
        return learners.learner_class(self.method)

    @property
    def parts(self) -> tuple["Entry", ...]:
        """This entry and those it is over; the last is what is trained."""
        return (self, *(self.over.parts if self.over else ()))

    @property
    def learns(self) -> bool:
        """Whether training images make a difference."""
        return self.parts[-1].kind.learns

    @property
    def adapts(self) -> bool:
        """Whether it adapts to views of each test image, which the seed draws."""
        return self.kind.reads is Reads.VIEWS

    def around(self, learner: PromptLearner[Any]) -> PromptLearner[Any]:
        """The whole entry, given the learner of its last part.

        Raises:
            UsageError: A method cannot adapt the one it is over.
        """
        return self.kind.over(self.over.around(learner), self.config) if self.over else learner


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
        self._build(entry, train, judged, seed=0)

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

        Raises:
            UsageError: The learner cannot do this; before any training starts.
            OthersMissingError: Only a share was judged, and others are missing.
        """
        config = self._training(entry.parts[-1], shots, train.name, seed)
        learner = self._build(entry, train, judged, seed=seed)
        result = self._describe(protocol, entry, learner, config, [train, *judged.values()], shots, seed)
        if known := self._told(None if self.fresh else self._known(result.key)):
            return known
        report = self._train(entry, learner, train, config, result)
        if told := None if self.team.leads else self._told(None):
            return told
        folder = _folder(protocol, entry, train, shots, seed)
        learner.save(self.out / "prompts" / folder)
        extra = {**(notes or {}), **({"processes": self.team.size} if self.team.size > 1 else {})}
        finish = partial(self._finish, replace(result, extra=extra), report, judged, self.out / "predictions" / folder)
        whole = entry.around(learner)
        if self.share:
            return self._judge_share(self.share, whole, train, judged, finish, place=self._place(result), before=before)
        return finish(*self._judge(whole, train, judged, before=before))

    def _finish(
        self,
        result: Result,
        report: TrainReport,
        judged: Mapping[str, Task],
        predictions: Path,
        scores: Mapping[str, Scores],
        earlier: Mapping[str, Scores],
    ) -> Result:
        """Keep what came out."""
        for part, task in judged.items():
            if not scores[part].metrics:
                keep_predictions(predictions.with_name(f"{predictions.name}{part}.csv"), task, scores[part])
        done = complete(result, scores, earlier, report)
        results.append(self.results_file, done)
        self._told(done)
        return done

    def _train(
        self, entry: Entry, learner: PromptLearner[Any], train: Task, config: TrainConfig, result: Result
    ) -> TrainReport:
        """Train, going on from where an interrupted run was."""
        place = self._place(result)

        def training() -> TrainReport:
            state = place.with_suffix(".safetensors")
            with closing(self._tracker(entry, config, result.seed)) as tracker:
                own = partial(fit, state=state, workers=self.workers, team=self.team)
                return own(learner, train, config, store=self.store, tracker=tracker)

        return shares.trained_once(learner, place, training) if self.share and entry.learns else training()

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
            scores, earlier = self._judge(learner, train, own, before=before)
            shares.keep(place, share, scores | earlier)
        with alone(place.with_suffix(".joining")):
            found = shares.joined(place, share.count)
            earlier = {part: scores for part, scores in found.items() if part not in judged}
            done = finish({part: found[part] for part in judged}, earlier)
            shares.drop(place)
        return done

    def _judge(
        self, learner: PromptLearner[Any], train: Task, judged: Mapping[str, Task], *, before: bool
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

    def _build(self, entry: Entry, train: Task, judged: Mapping[str, Task], *, seed: int) -> PromptLearner[Any]:
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

    def _place(self, result: Result) -> Path:
        """Where what there is of an unfinished run is kept: a folder, or files with its name and a suffix."""
        return self.out / "unfinished" / result.key

    @property
    def results_file(self) -> Path:
        """Where result lines go."""
        return self.results or self.out / "results.jsonl"

    def _known(self, key: str) -> Result | None:
        """The result of an equal run, if there is one."""
        return results.latest(results.read(self.results_file), key) if self.results_file.exists() else None

    def _told(self, result: Result | None) -> Result | None:
        """What the first of several processes knows, for all of them."""
        line = self.team.told(result.to_json() if result else "")
        return Result.from_json(line) if line else None

    def _tracker(self, entry: Entry, config: TrainConfig, seed: int) -> Tracker:
        if self.quiet or not config.epochs or not self.team.leads:
            return Silent()
        epochs = config.epochs if not config.steps else None  # unknown here where steps are the limit
        return Console(epochs, f"{entry.label} seed {seed}")

    def _describe(
        self,
        protocol: str,
        entry: Entry,
        learner: PromptLearner[Any],
        config: TrainConfig,
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
            task=tasks[0].name,
            split_hash=joint_hash(tasks),
            classes=len(tasks[0].classes),
            shots=shots,
            seed=seed,
            config=asdict(entry.around(learner).config) | _below(entry, learner),
            train_config=asdict(config) if config.epochs else {},
            augment=config.augment,
            backbone_parameters=sum(p.numel() for p in self.backbone.parameters()),
            versions=results.versions(),
        )


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
