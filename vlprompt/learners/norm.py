"""Norm: the norms of the image model and a linear head are trained (LayerNorm tuning).

Kim et al., NeurIPS workshops 2021 (arXiv:2112.13985), and a row that matches VPT-deep in independent comparisons on
VTAB-1k (OSU-MLB/ViT_PEFT_Vision: 73.5 against 73.4). Weights and biases of every LayerNorm (or RMSNorm).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from vlprompt.backbones import Vit
from vlprompt.backbones.tuned import TunedWeights, norms
from vlprompt.data.batch import Batch
from vlprompt.head import linear_head
from vlprompt.learners.base import PromptLearner, Reads, Variant, images_of
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class NormConfig:
    """Nothing to set: every norm is trained."""



@final
class Norm(PromptLearner[Vit]):
    """All norms and a linear head."""

    reads = Reads.IMAGES
    takes = (Vit,)

    def __init__(
        self, vit: Vit, classes: Sequence[str], config: NormConfig = NormConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(vit, classes, config, seed=seed)
        self.weights = TunedWeights(vit, norms(vit.model))
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
    """AdamW at 1e-3, 100 epochs, 10 of them warm-up (OSU-MLB/ViT_PEFT_Vision, default_vtab)."""
    return TrainConfig(
        epochs=100,
        batch_size=64,
        lr=1e-3,
        optimizer="adamw",
        weight_decay=1e-4,
        warmup="linear",
        warmup_epochs=10,
        warmup_lr=1e-4,
    )


VARIANTS = {"layer-norm": Variant(NormConfig(), recipe, "LayerNorm tuning; ViT_PEFT_Vision (CVPR 2025)")}
