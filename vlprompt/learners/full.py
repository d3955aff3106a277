"""Full: every weight of the image model is trained, with a linear head. Jia et al., ECCV 2022, Table 1.

The learner has copies of the weights, so a saved prompt is as large as the model. Dropout of the model is off (the
authors' code has it on).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from vlprompt.backbones import Vit
from vlprompt.learners.base import Variant
from vlprompt.learners.headed import WeightTuned, by_adamw
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class FullConfig:
    """Nothing to set: everything is trained."""


@final
class Full(WeightTuned):
    """All weights and a linear head."""

    def __init__(self, vit: Vit, classes: Sequence[str], config: FullConfig = FullConfig(), *, seed: int = 0) -> None:
        super().__init__(vit, classes, config, seed=seed)

    def chosen(self) -> Iterable[Tensor]:
        """All of them."""
        return list(self.backbone.model.parameters())


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """AdamW (configs/finetune/*.yaml)."""
    return by_adamw(lr=0.001)


VARIANTS = {"vpt-paper": Variant(FullConfig(), recipe, "Jia et al. 2022 (arXiv:2203.12119), Full")}
