"""Norm: the norms of the image model and a linear head are trained (LayerNorm tuning).

A strong baseline for CLIPs by Kim et al., "How to Adapt Your Large-Scale Vision-and-Language Model", 2021
(openreview.net/forum?id=EhwEUb2ynIa), and for ViTs by an independent comparison on VTAB-1k, where it matches VPT-deep
(OSU-MLB/ViT_PEFT_Vision, tuned for each task: 73.5 against 73.4). Weights and biases of every LayerNorm or RMSNorm.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from torch import Tensor

from vlprompt.backbones.weight_copies import norms
from vlprompt.config import Settings
from vlprompt.prompts.headed import WeightTuning, by_adamw
from vlprompt.training.config import Variant


@dataclass(frozen=True)
class NormConfig(Settings):
    """There is nothing to set: every norm is trained."""


@final
class Norm(WeightTuning[NormConfig]):
    """All norms and a linear head."""

    Config = NormConfig

    def chosen(self) -> Iterable[Tensor]:
        """Weights and biases of the norms."""
        return norms(self.backbone.model)


RECIPE = by_adamw(lr=0.005)  # as `bias`; VPT's authors have no such row
VARIANTS = {"layer-norm": Variant(NormConfig(), RECIPE, "LayerNorm tuning, a row of ViT_PEFT_Vision (CVPR 2025)")}
