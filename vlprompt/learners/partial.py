"""Partial-k: the last k layers, the final norm and a linear head are trained. Jia et al., ECCV 2022, Table 1.

With MAE and MoCo weights the authors' code leaves the final norm frozen, by a test that never holds (KMnP/vpt,
src/models/vit_models.py); here it is trained for every model, as their code does for ViT.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from torch import Tensor

from vlprompt.config import Count, Settings
from vlprompt.errors import UsageError
from vlprompt.prompts.headed import WeightTuning, by_adamw
from vlprompt.training.config import Variant


@dataclass(frozen=True)
class PartialConfig(Settings):
    """How much of the model is trained."""

    k: Count = 1  # layers from the end (1, 2 and 4 in vit_models.py); `linear` trains the head alone


@final
class Partial(WeightTuning[PartialConfig]):
    """The last layers and a linear head."""

    Config = PartialConfig

    def chosen(self) -> Iterable[Tensor]:
        """The parameters of the last layers and of the norms of their output; UsageError for fewer layers."""
        model, k = self.backbone.model, self.config.k
        blocks = list(getattr(model, "blocks", []))
        if k > len(blocks):
            raise UsageError(
                f"partial: k is {k}, and {self.backbone.name} ({type(model).__name__}) has {len(blocks)} layers in a "
                "row; give at most that, or use full."
            )
        final_norms = [getattr(model, name) for name in ("norm", "fc_norm") if hasattr(model, name)]
        return [each for module in (*blocks[-k:], *final_norms) for each in module.parameters()]


RECIPE = by_adamw(lr=0.001)  # demo.ipynb trains Partial-1 by configs/finetune/*.yaml
VARIANTS = {
    "partial-1": Variant(PartialConfig(k=1), RECIPE, "Jia et al. 2022 (arXiv:2203.12119), Partial-1"),
    "partial-2": Variant(PartialConfig(k=2), RECIPE, "Jia et al. 2022 (arXiv:2203.12119), Partial-2"),
    "partial-4": Variant(PartialConfig(k=4), RECIPE, "Jia et al. 2022 (arXiv:2203.12119), Partial-4"),
}
