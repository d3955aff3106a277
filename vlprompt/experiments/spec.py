"""LearnerSpec: a method in a published setting, perhaps with changes; one row of a result table."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from vlprompt import methods
from vlprompt.config import Settings as Config
from vlprompt.config import make_config
from vlprompt.data.needs import Input
from vlprompt.data.task import Task
from vlprompt.errors import unknown
from vlprompt.learner import PromptLearner
from vlprompt.training.config import TrainConfig, Variant
from vlprompt.training.evaluate import Online

Settings = Mapping[str, Mapping[str, Any]]  # changed settings by owner: {"coop": {"n_ctx": 4}, "train": {"epochs": 10}}


@dataclass(frozen=True)
class LearnerSpec:
    """A method in one of its published settings, some of them changed.

    Attributes:
        method: Its name as given: "coop", or the import path of a class.
        kind: Its class.
        variant: The name of the published setting.
        named: Whether the variant was given by name.
        config: The settings.
        published: The published setting, before any change.
        changed: The changes, for the label.
        wrapped: The learner that is trained first, where the method adapts another one to test images.
    """

    method: str
    kind: methods.Learner
    variant: str
    config: Any
    published: Variant
    changed: Mapping[str, Any] = field(default_factory=dict)
    wrapped: "LearnerSpec | None" = None
    named: bool = False

    @classmethod
    def parse(cls, text: str, settings: Settings | None = None) -> "LearnerSpec":
        """Read "coop", "coop:cocoop-paper", "my_methods.py:MyLearner", or "tpt+coop" for a method that wraps another.

        Args:
            text: Methods, the trained one last; each may be followed by a colon and the name of a published setting.
            settings: Changed settings by method; one outside the package is named as given or by its class.

        Raises:
            UsageError: There is no such method, published setting or setting.
        """
        outer, plus, inner = text.partition("+")
        method, which = methods.split_name(outer)
        variant, published = methods.variant(method, which)
        kind = methods.learner_class(method)
        changed = {name: value for owner in owners(method) for name, value in (settings or {}).get(owner, {}).items()}
        config = make_config(kind.Config, {**vars(published.config), **changed})
        if isinstance(config, Config):
            config.check_changed(changed)
        wrapped = cls.parse(inner, settings) if plus else None
        return cls(method, kind, variant, config, published, changed, wrapped, named=bool(which))

    @property
    def label(self) -> str:
        """The method's name and `settings`, as rows of tables are named."""
        return f"{self.kind.method()} {self.settings}".rstrip()

    @property
    def settings(self) -> str:
        """The variant where it is not the first one, the changes, and the wrapped learner; empty for the defaults."""
        words = [] if self.variant == next(iter(methods.variants(self.kind))) else [self.variant]
        words += [f"{name}={value}" for name, value in sorted(self.changed.items())]
        return " ".join([*words, *(["over", self.wrapped.label] if self.wrapped else [])])

    @property
    def parts(self) -> tuple["LearnerSpec", ...]:
        """This spec and those that it wraps, the trained one last."""
        return (self, *(self.wrapped.parts if self.wrapped else ()))

    @property
    def trained(self) -> "LearnerSpec":
        """The innermost spec: what `fit` trains."""
        return self.parts[-1]

    @property
    def trains(self) -> bool:
        """Whether training examples make a difference."""
        return self.trained.kind.needs.trains

    @property
    def online(self) -> bool:
        """Whether an answer depends on the test images before it."""
        return issubclass(self.kind, Online)

    @property
    def adapts(self) -> bool:
        """Whether it adapts to test images: it reads random views of them, or learns from their stream."""
        return self.kind.needs.input is Input.VIEWS or self.online

    def recipe(self, shots: int, task: Task) -> TrainConfig:
        """The training settings of the trained method for a task.

        Random crops and flips change what some images show (digits, texts, scans). So images are not augmented unless
        the task states that published augmentation keeps its labels, or the published setting was given by name.
        """
        recipe = self.trained.published.training(shots, task.dataset)
        return recipe if self.trained.named or task.augment else replace(recipe, augment="none")

    def wrap(self, learner: PromptLearner[Any, Any]) -> PromptLearner[Any, Any]:
        """The learner to evaluate, from the trained one.

        Raises:
            UsageError: A method cannot wrap the one below it.
        """
        return self._layers(learner)[0]

    def configs(self, learner: PromptLearner[Any, Any]) -> dict[str, Any]:
        """The settings of the learner to evaluate; those of the one that it wraps are nested under "over"."""
        nested: dict[str, Any] = {}
        for layer in reversed(self._layers(learner)):
            nested = asdict(layer.config) | ({"over": nested} if nested else {})
        return nested

    def _layers(self, learner: PromptLearner[Any, Any]) -> tuple[PromptLearner[Any, Any], ...]:
        """The learner to evaluate, what it wraps, and so on down to the trained one."""
        if self.wrapped is None:
            return (learner,)
        below = self.wrapped._layers(learner)
        return (methods.wrap(self.kind, below[0], self.config), *below)

    def draws(self, task: Task, shots: int, seeds: Sequence[int]) -> Iterator[tuple[Task, int, int]]:
        """The few-shot draw, the shots and the seed of every run; one run on the whole task if nothing is trained."""
        for seed in seeds if self.trains else ():
            yield task.few_shot(shots, seed), shots, seed
        if not self.trains:
            yield task, 0, 0


def parse_specs(names: Iterable[str], settings: Settings) -> list[LearnerSpec]:
    """Several specs with their settings.

    Raises:
        UsageError: As for `LearnerSpec.parse`; or settings of something that is neither one of them nor "train".
    """
    specs = [LearnerSpec.parse(name, settings) for name in names]
    known = {"train"}.union(*(owners(part.method) for spec in specs for part in spec.parts))
    for owner in settings:
        if owner not in known:
            raise unknown("owner of settings", owner, known, "Settings belong to a learner of this run, or to train.")
    return specs


def owners(method: str) -> tuple[str, ...]:
    """What settings may call a method: its name as given; of one outside the package also its class."""
    return tuple(dict.fromkeys((method, method.rpartition(":")[2])))
