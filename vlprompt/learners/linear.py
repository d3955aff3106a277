"""Linear: a linear head on frozen features, trained by gradients. The baseline of Jia et al., ECCV 2022, Table 1.

`linear_probe` solves for the same head; this one is trained as the other rows of VPT's tables are. Features of images
without augmentation come from the feature store, so an epoch costs a matrix product instead of a pass of the model.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from vlprompt.backbones import Clip, Vit
from vlprompt.config import Settings
from vlprompt.data.batch import Batch, features_of
from vlprompt.prompts.headed import Headed, by_sgd
from vlprompt.training.config import Variant


@dataclass(frozen=True)
class LinearConfig(Settings):
    """There is nothing to set."""


@final
class Linear(Headed[Vit | Clip, LinearConfig]):
    """One weight vector per class."""

    Config = LinearConfig
    backbones = (Vit, Clip)

    def features(self, batch: Batch) -> Tensor:
        """The frozen features (B, E)."""
        return features_of(batch)


RECIPE = by_sgd(lr=1.0)  # configs/linear/*.yaml
VARIANTS = {"vpt-paper": Variant(LinearConfig(), RECIPE, "Jia et al. 2022 (arXiv:2203.12119), Linear")}
