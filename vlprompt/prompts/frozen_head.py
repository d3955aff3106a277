"""FrozenHead: class names in templates on a frozen CLIP, for zero-shot and for adaptation without training."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self, TypeVar

import torch
from torch import Tensor

from vlprompt.backbones.clip import Clip
from vlprompt.config import Count, Range, Settings
from vlprompt.data.batch import Batch, views_of
from vlprompt.data.needs import Input, Needs
from vlprompt.data.task import Task
from vlprompt.data.templates import DEFAULT_TEMPLATE, Templates
from vlprompt.data.views import Views
from vlprompt.errors import UsageError
from vlprompt.learner import PromptLearner
from vlprompt.prompts.cosine import CosineLearner
from vlprompt.prompts.zero_shot_head import template_features

SeveralViews = Annotated[int, Range("2 or more", low=2)]  # for methods that compare the views of an image


@dataclass(frozen=True)
class HeadConfig(Settings):
    """The words around a class name."""

    templates: Templates = ()  # none: the task's own, or "a photo of a {}."


@dataclass(frozen=True)
class ViewsConfig(HeadConfig):
    """The words around a class name, and the views of each test image."""

    views: Count = 64  # of each image, the plain one included
    augmix: bool = False  # AugMix on top of crops and flips


H = TypeVar("H", bound=HeadConfig)
V = TypeVar("V", bound=ViewsConfig)


class FrozenHead(CosineLearner[H], abc.ABC):
    """A classifier without learned parameters.

    Attributes:
        templates: The templates in use.
        follows_task: Whether another task brings other templates.
    """

    needs = Needs(trains=False)
    from_task = ("templates",)

    def __init__(self, clip: Clip, classes: Sequence[str], config: H | None = None, *, seed: int = 0) -> None:
        super().__init__(clip, classes, config, seed=seed)
        self.follows_task = False
        self.templates = self.complete(self.config.templates)

    @classmethod
    def for_task(cls, backbone: Clip, task: Task, config: H, *, seed: int = 0) -> Self:
        """Build the head with the templates of the task, and of later tasks, where the config has none."""
        own = replace(config, templates=config.templates or cls.templates_of(task, config))
        head = cls(backbone, task.classes, own, seed=seed)
        head.follows_task = not config.templates
        return head

    @classmethod
    def over(cls, learner: PromptLearner[Any, Any], config: H) -> Self:
        """Use the classes and templates of another frozen head.

        Raises:
            UsageError: The learner is not a frozen head.
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
    def templates_of(cls, task: Task, config: H) -> tuple[str, ...]:  # noqa: ARG003
        """The templates of a task, used where the config has none."""
        return task.templates

    def complete(self, templates: tuple[str, ...]) -> tuple[str, ...]:
        """All templates to use, given those of the config or of a task."""
        return templates or (DEFAULT_TEMPLATE,)

    def begin_task(self, task: Task) -> None:
        """Use a task's class names, and its templates unless the config has some."""
        if self.follows_task:
            self.templates = self.complete(self.templates_of(task, self.config))
        self.set_classes(task.classes)

    def text(self) -> Tensor:
        """(1, C, E) normalised text features."""
        return template_features(self.backbone, self.classes, self.templates)[None]

    def class_features(self) -> Tensor:
        """(C, E), normalised; computed again when the class names or the templates have changed."""
        return self.cached(" ".join(self.templates), self.text)[0]


class ViewsHead(FrozenHead[V], abc.ABC):
    """A frozen head whose `predict` reads several views of each test image; `forward` reads the plain one."""

    needs = Needs(input=Input.VIEWS, trains=False)

    def __init__(self, clip: Clip, classes: Sequence[str], config: V | None = None, *, seed: int = 0) -> None:
        super().__init__(clip, classes, config, seed=seed)
        self.needs = replace(self.needs, views=Views(self.config.views, self.config.augmix, seed))

    def image_features(self, batch: Batch) -> Tensor:
        """(B, E) of the plain views."""
        return views_of(batch)[:, 0]

    def view_scores(self, views: Tensor) -> Tensor:
        """(B, V, E) -> (B, V, C), the scores of every view."""
        return self.backbone.scores(views.flatten(0, 1), self.class_features()).reshape(*views.shape[:2], -1)


def by_certainty(scores: Tensor) -> Tensor:
    """(B, V, C) scores -> (B, V) indices of the views, the one with the lowest entropy first."""
    entropy: Tensor = torch.special.entr(scores.softmax(dim=-1)).sum(dim=-1)
    return entropy.argsort(dim=1, stable=True)


def share_of(share: float, count: int) -> int:
    """The number of views that a share of all views amounts to, at least 1."""
    return max(1, int(share * count))
