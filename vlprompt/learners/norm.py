"""Norm: the norms of the image model and a linear head are trained (LayerNorm tuning).

A strong baseline for CLIPs by Kim et al., "How to Adapt Your Large-Scale Vision-and-Language Model", 2021
(openreview.net/forum?id=EhwEUb2ynIa), and for ViTs by an independent comparison on VTAB-1k, where it matches VPT-deep
(OSU-MLB/ViT_PEFT_Vision, tuned for each task: 73.5 against 73.4). Weights and biases of every LayerNorm or RMSNorm.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from vlprompt.backbones import Vit
from vlprompt.backbones.tuned import norms
from vlprompt.learners.base import Variant
from vlprompt.learners.headed import WeightTuned, by_adamw
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class NormConfig:
    """Nothing to set: every norm is trained."""


@final
class Norm(WeightTuned):
    """All norms and a linear head."""

    def __init__(self, vit: Vit, classes: Sequence[str], config: NormConfig = NormConfig(), *, seed: int = 0) -> None:
        super().__init__(vit, classes, config, seed=seed)

    def chosen(self) -> Iterable[Tensor]:
        """Weights and biases of the norms."""
        return norms(self.backbone.model)


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """As `bias`, its neighbour in tables; VPT's authors have no such row."""
    return by_adamw(lr=0.005)


VARIANTS = {"layer-norm": Variant(NormConfig(), recipe, "LayerNorm tuning, a row of ViT_PEFT_Vision (CVPR 2025)")}
