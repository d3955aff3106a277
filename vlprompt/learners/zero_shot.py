"""Zero-shot CLIP: class names in templates, nothing learned. Radford et al., ICML 2021 (arXiv:2103.00020), section 3.1.

With several templates a class is the mean of its normalised text features, normalised again (section 3.1.4).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self, final

from torch import Tensor

from vlprompt.backbones.clip import Clip
from vlprompt.classifier import DEFAULT_TEMPLATES, template_features
from vlprompt.data.batch import Batch
from vlprompt.data.task import Task
from vlprompt.learners.base import PromptLearner, Reads, Variant, features_of
from vlprompt.recipe import TrainConfig
from vlprompt.templates import IMAGENET_SELECT, ensemble


@dataclass(frozen=True)
class ZeroShotConfig:
    """Which words stand around a class name."""

    templates: tuple[str, ...] = ()  # none: the task's own, or "a photo of a {}."
    select: bool = False  # add the seven templates selected on ImageNet in front (CoOp's trainers/zsclip.py)

    def __post_init__(self) -> None:
        """Raise UsageError for a template without a place for the name."""
        object.__setattr__(self, "templates", tuple(self.templates))
        if self.templates:
            ensemble(self.templates)


@final
class ZeroShot(PromptLearner[Clip]):
    """Cosine of image and text features; one template or the mean of many."""

    reads = Reads.FEATURES
    learns = False

    def __init__(
        self, clip: Clip, classes: Sequence[str], config: ZeroShotConfig = ZeroShotConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(clip, classes, config, seed=seed)
        self.follows_task = False  # whether another task brings other templates
        self.templates = self._with_select(config.templates or (() if config.select else DEFAULT_TEMPLATES))

    @classmethod
    def for_task(cls, backbone: Clip, task: Task, config: ZeroShotConfig, *, seed: int = 0) -> Self:
        """Use the task's templates where the configuration names none."""
        # The seven were selected on ImageNet: there they stand alone (CoOp, trainers/zsclip.py).
        own = () if config.select and task.name == "imagenet" else task.templates
        learner = cls(backbone, task.classes, replace(config, templates=config.templates or own), seed=seed)
        learner.follows_task = not config.templates
        return learner

    def begin_task(self, task: Task) -> None:
        """Take a task's class names, and its templates unless the configuration names some."""
        if self.follows_task:
            self.templates = self._with_select(task.templates)
        self.set_classes(task.classes)

    @property
    def keeps_classes(self) -> str:
        """Any names will do."""
        return ""

    def _with_select(self, own: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*(IMAGENET_SELECT if self.config.select else ()), *own)))

    def text(self) -> Tensor:
        """(C, E) normalised text features."""
        return template_features(self.backbone, self.classes, self.templates)

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self.backbone.scores(features_of(batch), self.once(" ".join(self.templates), self.text))


def recipe(shots: int = 0, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """Nothing is trained."""
    return TrainConfig(epochs=0, augment="none")


VARIANTS = {
    "single": Variant(ZeroShotConfig(), recipe, "Radford et al. 2021; one hand-written template per data set"),
    "ensemble": Variant(ZeroShotConfig(select=True), recipe, "Radford et al. 2021, section 3.1.4; CoOp's zsclip.py"),
}
