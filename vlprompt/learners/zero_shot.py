"""Zero-shot CLIP: class names in templates, nothing learned. Radford et al., ICML 2021 (arXiv:2103.00020), section 3.1.

With several templates a class is the mean of its normalised text features, normalised again (section 3.1.4).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from vlprompt.backbones.clip import Clip
from vlprompt.data.task import Task
from vlprompt.learners.base import Reads, Variant
from vlprompt.learners.frozen_head import FrozenHead, HeadConfig
from vlprompt.recipe import TrainConfig
from vlprompt.templates import IMAGENET_SELECT


@dataclass(frozen=True)
class ZeroShotConfig(HeadConfig):
    """Which words stand around a class name."""

    select: bool = False  # add the seven templates selected on ImageNet in front (CoOp's trainers/zsclip.py)


@final
class ZeroShot(FrozenHead):
    """Cosine of image and text features; one template or the mean of many."""

    reads = Reads.FEATURES

    def __init__(
        self, clip: Clip, classes: Sequence[str], config: ZeroShotConfig = ZeroShotConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(clip, classes, config, seed=seed)

    @classmethod
    def templates_of(cls, task: Task, config: ZeroShotConfig) -> tuple[str, ...]:
        """The task's, but for the seven selected on ImageNet: there they stand alone (CoOp, trainers/zsclip.py)."""
        return () if config.select and task.name == "imagenet" else task.templates

    def spoken(self, own: tuple[str, ...]) -> tuple[str, ...]:
        """The task's own behind the seven, if those are asked for."""
        return tuple(dict.fromkeys((*IMAGENET_SELECT, *own))) if self.config.select else super().spoken(own)


def recipe(shots: int = 0, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """Nothing is trained."""
    return TrainConfig(epochs=0, augment="none")


VARIANTS = {
    "single": Variant(ZeroShotConfig(), recipe, "Radford et al. 2021; one hand-written template per data set"),
    "ensemble": Variant(ZeroShotConfig(select=True), recipe, "Radford et al. 2021, section 3.1.4; CoOp's zsclip.py"),
}
