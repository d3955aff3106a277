"""Tip-Adapter-F: a cache whose keys are fine-tuned. Zhang et al., ECCV 2022 (arXiv:2207.09519), section 3.3.

Keys start as those of Tip-Adapter and are trained with the published alpha and beta of the data set; labels do not
change. The epoch with the highest accuracy on the task's validation images is used, and alpha and beta are searched
there; without validation images it is the last epoch and the published values.

The authors' code (gaopengcuhk/Tip-Adapter, main.py) chooses the epoch by its accuracy on the test images and reports
the better of two test accuracies. There is no `reference_quirks` for that: `fit` never reads test images.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from vlprompt.data.batches import Batches
from vlprompt.data.templates import IMAGENET_SELECT
from vlprompt.prompts.cache_learner import CacheConfig, CacheLearner
from vlprompt.training.config import TrainConfig, Variant


@dataclass(frozen=True)
class TipAdapterFConfig(CacheConfig):
    """The cache of Tip-Adapter-F."""


@final
class TipAdapterF(CacheLearner[TipAdapterFConfig]):
    """Zero-shot scores plus the votes of keys that start as training images."""

    Config = TipAdapterFConfig

    def prepare(self, train: Batches, val: Batches | None) -> None:
        """Fill the cache, and read the validation images."""
        super().prepare(train, val)
        self.best, self.right = self.cache.keys.detach().clone(), torch.tensor(0)

    def training_state(self) -> dict[str, Tensor]:
        """The best keys so far, the number of validation images that they classify correctly, and alpha and beta."""
        return {"best": self.best, "right": self.right, "weights": self.cache.weights}

    @torch.no_grad()
    def end_epoch(self, epoch: int, epochs: int) -> None:
        """Store the keys if they are the best on validation data; at the end, search alpha and beta for the best."""
        if self.held_out is None:
            return
        features, labels = self.held_out
        right = (self.feature_scores(features).argmax(dim=-1) == labels).sum().cpu()
        if right > self.right:
            self.right.copy_(right)
            self.best.copy_(self.cache.keys)
        if epoch == epochs:
            self.cache.keys.copy_(self.best)
            self.search()


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """The authors' training: AdamW, cosine per step, 20 epochs, EuroSAT 100 (main.py, configs/*.yaml).

    They use an incomplete last batch, which is dropped here where there is a complete one.
    """
    return TrainConfig(
        epochs=100 if dataset == "eurosat" else 20,
        batch_size=256,
        lr=0.001,
        optimizer="adamw",
        weight_decay=0.01,
        eps=1e-4,
        per_step=True,
        warmup="none",
        crop=0.5,
    )


PAPER = "Zhang et al. 2022 (arXiv:2207.09519)"
VARIANTS = {
    "tip-adapter-paper": Variant(TipAdapterFConfig(), recipe, PAPER),
    "tip-adapter-imagenet": Variant(
        TipAdapterFConfig(templates=IMAGENET_SELECT),
        recipe,
        f"{PAPER}, ImageNet: seven templates (datasets/imagenet.py)",
    ),
}
