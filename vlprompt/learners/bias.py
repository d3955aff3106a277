"""Bias (BitFit): every bias of the image model is trained, with a linear head. Ben Zaken et al., ACL 2022.

arXiv:2106.10199; as VPT's baseline of the same name (Jia et al., ECCV 2022, Table 1; KMnP/vpt, "tinytl-bias"): biases
of the patch embedding, of attention, of MLPs and of norms.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from vlprompt.backbones import Vit
from vlprompt.backbones.tuned import biases
from vlprompt.learners.base import Variant
from vlprompt.learners.headed import WeightTuned, by_adamw
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class BiasConfig:
    """Nothing to set: every bias is trained."""


@final
class Bias(WeightTuned):
    """All biases and a linear head."""

    def __init__(self, vit: Vit, classes: Sequence[str], config: BiasConfig = BiasConfig(), *, seed: int = 0) -> None:
        super().__init__(vit, classes, config, seed=seed)

    def chosen(self) -> Iterable[Tensor]:
        """The biases."""
        return biases(self.backbone.model)


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """AdamW (demo.ipynb: Bias is trained by configs/finetune/*.yaml)."""
    return by_adamw(lr=0.005)


VARIANTS = {"vpt-paper": Variant(BiasConfig(), recipe, "Jia et al. 2022 (arXiv:2203.12119), Bias")}
