"""Tip-Adapter: a cache of training images, without training. Zhang et al., ECCV 2022 (arXiv:2207.09519).

    scores = zero-shot scores + alpha * exp(-beta * (1 - f keys^T)) onehot(labels)

alpha and beta are searched on the task's validation images (at most 4 of a class; the authors read the whole split);
without any they are the published values of the data set (chosen for ResNet-50), else those of ImageNet. The published
range of a data set is not left; a data set without one starts from ImageNet's, whose ends are moved while they are the
best. The authors search ImageNet's on its test images; here nothing is chosen on test images.
"""

from dataclasses import dataclass
from typing import final

from vlprompt.data.batches import Batches
from vlprompt.data.templates import IMAGENET_SELECT
from vlprompt.prompts.cache_learner import CacheConfig, CacheLearner
from vlprompt.training.config import TrainConfig, Variant


@dataclass(frozen=True)
class TipAdapterConfig(CacheConfig):
    """The cache of Tip-Adapter."""


@final
class TipAdapter(CacheLearner[TipAdapterConfig]):
    """Zero-shot scores plus the votes of similar training images."""

    Config = TipAdapterConfig

    def prepare(self, train: Batches, val: Batches | None) -> None:
        """Fill the cache, and search alpha and beta where there are validation images."""
        super().prepare(train, val)
        self.search()


# Nothing is trained; the views are random crops of half the image or more (Tip-Adapter, main.py).
RECIPE = TrainConfig(epochs=0, crop=0.5)

PAPER = "Zhang et al. 2022 (arXiv:2207.09519)"
VARIANTS = {
    "tip-adapter-paper": Variant(TipAdapterConfig(), RECIPE, PAPER),
    "tip-adapter-imagenet": Variant(
        TipAdapterConfig(templates=IMAGENET_SELECT),
        RECIPE,
        f"{PAPER}, ImageNet: seven templates (datasets/imagenet.py)",
    ),
}
