"""Partial-k: the last k layers, the final norm and a linear head are trained. Jia et al., ECCV 2022, Table 1.

With MAE and MoCo weights the authors' code leaves the final norm frozen, by a test that never holds (KMnP/vpt,
src/models/vit_models.py); here it is trained for every model, as their code does it for ViT.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from vlprompt.backbones import Vit
from vlprompt.errors import UsageError
from vlprompt.learners.base import Variant
from vlprompt.learners.headed import WeightTuned, by_adamw
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class PartialConfig:
    """How much of the model."""

    k: int = 1  # layers from the end (1, 2 and 4 in vit_models.py)

    def __post_init__(self) -> None:
        """Raise UsageError for no layer at all."""
        if self.k < 1:
            raise UsageError(f"partial: k {self.k} must be 1 or more; for the head alone there is linear.")


@final
class Partial(WeightTuned):
    """The last layers and a linear head."""

    config: PartialConfig

    def __init__(
        self, vit: Vit, classes: Sequence[str], config: PartialConfig = PartialConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(vit, classes, config, seed=seed)

    def chosen(self) -> Iterable[Tensor]:
        """Those of the last layers and of what norms their output.

        Raises:
            UsageError: The model has fewer layers, or none that stand in a row.
        """
        model, k = self.backbone.model, self.config.k
        blocks = list(getattr(model, "blocks", []))
        if k > len(blocks):
            raise UsageError(
                f"partial: k is {k}, and {self.backbone.name} ({type(model).__name__}) has {len(blocks)} layers in a "
                "row; give at most that, or use full."
            )
        final_norms = [getattr(model, name) for name in ("norm", "fc_norm") if hasattr(model, name)]
        return [each for module in (*blocks[-k:], *final_norms) for each in module.parameters()]


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """AdamW (demo.ipynb: Partial-1 is trained by configs/finetune/*.yaml)."""
    return by_adamw(lr=0.001)


VARIANTS = {
    f"partial-{k}": Variant(PartialConfig(k=k), recipe, f"Jia et al. 2022 (arXiv:2203.12119), Partial-{k}")
    for k in (1, 2, 4)
}
