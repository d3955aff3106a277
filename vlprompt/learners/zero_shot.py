"""Zero-shot CLIP: class names in templates, nothing learned. Radford et al., ICML 2021 (arXiv:2103.00020), section 3.1.

With several templates a class is the mean of its normalised text features, normalised again (section 3.1.4).
"""

from dataclasses import dataclass
from typing import final

from vlprompt.data.task import Task
from vlprompt.data.templates import IMAGENET_SELECT
from vlprompt.prompts.frozen_head import FrozenHead, HeadConfig
from vlprompt.training.config import NO_TRAINING, Variant


@dataclass(frozen=True)
class ZeroShotConfig(HeadConfig):
    """The words around a class name."""

    select: bool = False  # put the seven templates selected on ImageNet first (CoOp's trainers/zsclip.py)


@final
class ZeroShot(FrozenHead[ZeroShotConfig]):
    """Cosine of image and text features; one template or the mean of many."""

    Config = ZeroShotConfig

    @classmethod
    def templates_of(cls, task: Task, config: ZeroShotConfig) -> tuple[str, ...]:
        """The task's; none on ImageNet with `select`, where the seven are used alone (CoOp, trainers/zsclip.py)."""
        return () if config.select and task.dataset == "imagenet" else task.templates

    def complete(self, templates: tuple[str, ...]) -> tuple[str, ...]:
        """With `select`, the given templates after the seven, each once."""
        if not self.config.select:
            return super().complete(templates)
        return tuple(dict.fromkeys((*IMAGENET_SELECT, *templates)))


VARIANTS = {
    "single": Variant(ZeroShotConfig(), NO_TRAINING, "Radford et al. 2021; one hand-written template per data set"),
    "ensemble": Variant(
        ZeroShotConfig(select=True), NO_TRAINING, "Radford et al. 2021, section 3.1.4; CoOp's zsclip.py"
    ),
}
