"""Partial-k: the last k layers, the final norm and a linear head are trained. Jia et al., ECCV 2022, Table 1.

With MAE and MoCo weights the authors' code leaves the final norm frozen, by a test that never holds (KMnP/vpt,
src/models/vit_models.py); here it is trained for every model, as their code does it for ViT.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from vlprompt.backbones import Vit
from vlprompt.backbones.tuned import TunedWeights
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.head import linear_head
from vlprompt.learners.base import PromptLearner, Reads, Variant, images_of
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
class Partial(PromptLearner[Vit]):
    """The last layers and a linear head."""

    reads = Reads.IMAGES
    takes = (Vit,)

    def __init__(
        self, vit: Vit, classes: Sequence[str], config: PartialConfig = PartialConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(vit, classes, config, seed=seed)
        blocks = list(getattr(vit.model, "blocks", []))
        if config.k > len(blocks):
            raise UsageError(f"partial: k is {config.k}, the image tower has {len(blocks)} layers; give at most that.")
        final_norms = [getattr(vit.model, name) for name in ("norm", "fc_norm") if hasattr(vit.model, name)]
        chosen = [each for module in (*blocks[-config.k :], *final_norms) for each in module.parameters()]
        self.weights = TunedWeights(vit, chosen)
        self.head = linear_head(vit.embed_dim, len(self.classes), seed=seed)
        self.to(vit.device)

    @property
    def keeps_classes(self) -> str:
        """There is a weight vector for each class it saw."""
        return "its head has one weight vector per class and reads no names"

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self.head(self.weights.encode_image(self.backbone, images_of(batch)))  # type: ignore[no-any-return]


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """As `full`: the code trains both alike (configs/base-finetune.yaml)."""
    return TrainConfig(
        epochs=100,
        batch_size=64,
        lr=1e-3,
        optimizer="adamw",
        weight_decay=0.01,
        warmup="linear",
        warmup_epochs=5,
        warmup_lr=1e-4,
    )


VARIANTS = {
    f"partial-{k}": Variant(PartialConfig(k=k), recipe, f"Jia et al. 2022 (arXiv:2203.12119), Partial-{k}")
    for k in (1, 2, 4)
}
