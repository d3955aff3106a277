"""Full: every weight of the image model is trained, with a linear head. Jia et al., ECCV 2022, Table 1.

The authors' code (KMnP/vpt, src/solver/optimizer.py) decays by 0.01 whatever its setting says, and trains with SGD
where the setting is 0; here the settings are what they say. The frozen model stays as it is: the learner has copies of
its weights, and a saved prompt is as large as the model. Dropout of the model is off.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from vlprompt.backbones import Vit
from vlprompt.backbones.tuned import TunedWeights
from vlprompt.data.batch import Batch
from vlprompt.head import linear_head
from vlprompt.learners.base import PromptLearner, Reads, Variant, images_of
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class FullConfig:
    """Nothing to set: everything is trained."""



@final
class Full(PromptLearner[Vit]):
    """All weights and a linear head."""

    reads = Reads.IMAGES
    takes = (Vit,)

    def __init__(
        self, vit: Vit, classes: Sequence[str], config: FullConfig = FullConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(vit, classes, config, seed=seed)
        self.weights = TunedWeights(vit, vit.model.parameters())
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
    """AdamW, 100 epochs, 5 of them warm-up (configs/base-finetune.yaml); lr of the grid .005, .001, .0005, .0001."""
    return TrainConfig(
        epochs=100,
        batch_size=64,
        lr=1e-4,
        optimizer="adamw",
        weight_decay=0.01,
        warmup="linear",
        warmup_epochs=5,
        warmup_lr=1e-5,
    )


VARIANTS = {"vpt-paper": Variant(FullConfig(), recipe, "Jia et al. 2022 (arXiv:2203.12119), Full")}
