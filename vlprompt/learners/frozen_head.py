"""FrozenHead: class names in templates over a frozen CLIP, for zero-shot and for what adapts it without training."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from torch import Tensor

from vlprompt.backbones.clip import Clip
from vlprompt.classifier import DEFAULT_TEMPLATES, template_features
from vlprompt.data.batch import Batch
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.learners.base import PromptLearner, Reads, features_of, views_of
from vlprompt.templates import ensemble


@dataclass(frozen=True)
class HeadConfig:
    """Which words stand around a class name."""

    templates: tuple[str, ...] = ()  # none: the task's own, or "a photo of a {}."

    def __post_init__(self) -> None:
        """Raise UsageError for a template without a place for the name."""
        object.__setattr__(self, "templates", tuple(self.templates))
        if self.templates:
            ensemble(self.templates)


class FrozenHead(PromptLearner[Clip], abc.ABC):
    """Nothing is learned; the configuration's `templates`, or the task's own, stand around a class name.

    Attributes:
        templates: Those in use.
        follows_task: Whether another task brings other templates.
    """

    learns = False

    def __init__(self, clip: Clip, classes: Sequence[str], config: Any, *, seed: int = 0) -> None:
        super().__init__(clip, classes, config, seed=seed)
        self.follows_task = False
        self.templates = self.spoken(config.templates)

    @classmethod
    def for_task(cls, backbone: Clip, task: Task, config: Any, *, seed: int = 0) -> Self:
        """Use the task's templates where the configuration names none."""
        own = replace(config, templates=config.templates or cls.templates_of(task, config))
        learner = cls(backbone, task.classes, own, seed=seed)
        learner.follows_task = not config.templates
        return learner

    @classmethod
    def over(cls, learner: PromptLearner[Any], config: Any) -> Self:
        """The same classes and templates as another frozen head.

        Raises:
            UsageError: The learner is none: its text is not class names in templates.
        """
        if not isinstance(learner, FrozenHead):
            raise UsageError(
                f"{cls.method()} works on class names in templates, not on what {learner.method()} has learned; use it "
                "alone or over zero_shot."
            )
        own = replace(config, templates=config.templates or learner.templates)
        head = cls(learner.backbone, learner.classes, own, seed=learner.seed)
        head.follows_task = learner.follows_task and not config.templates
        return head

    @classmethod
    def templates_of(cls, task: Task, config: Any) -> tuple[str, ...]:  # noqa: ARG003
        """What a task brings where the configuration names no template."""
        return task.templates

    def spoken(self, own: tuple[str, ...]) -> tuple[str, ...]:
        """The templates in use, from those of the configuration or of the task."""
        return own or DEFAULT_TEMPLATES

    def begin_task(self, task: Task) -> None:
        """Take a task's class names, and its templates unless the configuration names some."""
        if self.follows_task:
            self.templates = self.spoken(task.templates)
        self.set_classes(task.classes)

    @property
    def keeps_classes(self) -> str:
        """Any names will do."""
        return ""

    def text(self) -> Tensor:
        """(C, E) normalised text features."""
        return self.once(
            " ".join(self.templates), lambda: template_features(self.backbone, self.classes, self.templates)
        )

    def scores_of(self, views: Tensor) -> Tensor:
        """(B, V, E) -> (B, V, C), the scores of every view."""
        return self.backbone.scores(views.flatten(0, 1), self.text()).reshape(*views.shape[:2], -1)

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C) of the plain images, or of the plain view of each."""
        features = views_of(batch)[:, 0] if self.reads is Reads.VIEWS else features_of(batch)
        return self.backbone.scores(features, self.text())
