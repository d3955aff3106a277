"""Bias (BitFit): every bias of the image model is trained, with a linear head. Ben Zaken et al., ACL 2022.

arXiv:2106.10199; as VPT's baseline of the same name (Jia et al., ECCV 2022, Table 1; KMnP/vpt, "tinytl-bias"): biases
of the patch embedding, of attention, of MLPs and of norms.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from vlprompt.backbones import Vit
from vlprompt.backbones.tuned import TunedWeights, biases
from vlprompt.data.batch import Batch
from vlprompt.head import linear_head
from vlprompt.learners.base import PromptLearner, Reads, Variant, images_of
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class BiasConfig:
    """Nothing to set: every bias is trained."""



@final
class Bias(PromptLearner[Vit]):
    """All biases and a linear head."""

    reads = Reads.IMAGES
    takes = (Vit,)

    def __init__(
        self, vit: Vit, classes: Sequence[str], config: BiasConfig = BiasConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(vit, classes, config, seed=seed)
        self.weights = TunedWeights(vit, biases(vit.model))
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
    """SGD by VPT's settings of prompts (configs/prompt/*.yaml); a low value of their lr grid, times batch / 256."""
    return TrainConfig(
        epochs=100,
        batch_size=64,
        lr=0.25 * 64 / 256,
        optimizer="sgd",
        weight_decay=1e-4,
        warmup="linear",
        warmup_epochs=10,
        warmup_lr=0.025 * 64 / 256,
    )


VARIANTS = {"vpt-paper": Variant(BiasConfig(), recipe, "Jia et al. 2022 (arXiv:2203.12119), Bias")}
