"""Bias (BitFit): every bias of the image model is trained, with a linear head. Ben Zaken et al., ACL 2022.

arXiv:2106.10199. As VPT's baseline of the same name (Jia et al., ECCV 2022, Table 1; KMnP/vpt, "tinytl-bias"): the
biases of the patch embedding, attention, MLPs and norms.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from torch import Tensor

from vlprompt.backbones.weight_copies import biases
from vlprompt.config import Settings
from vlprompt.prompts.headed import WeightTuning, by_adamw
from vlprompt.training.config import Variant


@dataclass(frozen=True)
class BiasConfig(Settings):
    """There is nothing to set: every bias is trained."""


@final
class Bias(WeightTuning[BiasConfig]):
    """All biases and a linear head."""

    Config = BiasConfig

    def chosen(self) -> Iterable[Tensor]:
        """The biases."""
        return biases(self.backbone.model)


RECIPE = by_adamw(lr=0.005)  # demo.ipynb trains Bias by configs/finetune/*.yaml
VARIANTS = {"vpt-paper": Variant(BiasConfig(), RECIPE, "Jia et al. 2022 (arXiv:2203.12119), Bias")}
