"""Full: every weight of the image model is trained, with a linear head. Jia et al., ECCV 2022, Table 1.

The learner has copies of the weights, so a saved prompt is as large as the model. The model's own dropout is off (on
in the authors' code).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from torch import Tensor

from vlprompt.config import Settings
from vlprompt.prompts.headed import WeightTuning, by_adamw
from vlprompt.training.config import Variant


@dataclass(frozen=True)
class FullConfig(Settings):
    """There is nothing to set: everything is trained."""


@final
class Full(WeightTuning[FullConfig]):
    """All weights and a linear head."""

    Config = FullConfig

    def chosen(self) -> Iterable[Tensor]:
        """All parameters."""
        return self.backbone.model.parameters()  # type: ignore[no-any-return]


RECIPE = by_adamw(lr=0.001)  # configs/finetune/*.yaml
VARIANTS = {"vpt-paper": Variant(FullConfig(), RECIPE, "Jia et al. 2022 (arXiv:2203.12119), Full")}
