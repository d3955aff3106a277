"""Linear: a linear head on frozen features, trained by gradients. The baseline of Jia et al., ECCV 2022, Table 1.

`linear_probe` solves for the same head; this one is trained as its neighbours in a table are. Features of images that
are not varied come from the feature store, so that an epoch costs a matrix product instead of a pass of the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from vlprompt.backbones import Clip, Vit
from vlprompt.data.batch import Batch
from vlprompt.head import linear_head
from vlprompt.learners.base import PromptLearner, Reads, Variant, features_of
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class LinearConfig:
    """Nothing to set."""


@final
class Linear(PromptLearner[Vit | Clip]):
    """A weight vector per class."""

    reads = Reads.FEATURES
    takes = (Vit, Clip)

    def __init__(
        self, backbone: Vit | Clip, classes: Sequence[str], config: LinearConfig = LinearConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(backbone, classes, config, seed=seed)
        self.head = linear_head(backbone.embed_dim, len(self.classes), seed=seed).to(backbone.device)

    @property
    def keeps_classes(self) -> str:
        """There is a weight vector for each class it saw."""
        return "its head has one weight vector per class and reads no names"

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self.head(features_of(batch))  # type: ignore[no-any-return]


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """SGD, 100 epochs, 10 of them warm-up (configs/linear/*.yaml), as VTAB without augmentation; 1 of the lr grid."""
    lr = 64 / 256
    return TrainConfig(
        epochs=100,
        batch_size=64,
        lr=lr,
        weight_decay=1e-4,
        warmup="linear",
        warmup_epochs=10,
        warmup_lr=lr / 10,
        augment="none",
    )


VARIANTS = {"vpt-paper": Variant(LinearConfig(), recipe, "Jia et al. 2022 (arXiv:2203.12119), Linear")}
