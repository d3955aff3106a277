"""TDA: two caches of test images, filled as they come. Karmanov et al., CVPR 2024 (arXiv:2403.18293), section 3.

The positive cache keeps, for each class, the images that zero-shot CLIP put there with the lowest entropy; the negative
cache keeps images it was unsure of, with the classes they may be. Both correct the scores of every later image, as in
Tip-Adapter:

    scores = zero_shot + alpha+ sum_k exp(-beta+ (1 - f.k)) onehot_k - alpha- sum_k exp(-beta- (1 - f.k)) [p_k > 0.03]

An image enters the caches before it is answered (kdiAAA/TDA, tda_runner.py). This is online: an answer depends on the
images before it and their order, and every stream starts from empty caches.

Settings are those the paper searched on ImageNet and kept; the released code has another alpha+ and beta+ for each data
set. It also divides the entropy, in nats, by log2(C) where a share of the largest entropy is ln(C):
`reference_quirks` does that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.backbones.clip import Clip
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.learners.base import Reads, Variant, views_of
from vlprompt.learners.frozen_head import FrozenHead, HeadConfig
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class TDAConfig(HeadConfig):
    """What the caches take in and how much they count; defaults from kdiAAA/TDA, configs/imagenet.yaml."""

    views: int = 1  # the plain image; 64 on ImageNet's variants (utils.py)
    augmix: bool = False  # on ImageNet's variants (utils.py::get_ood_preprocess)
    confident: float = 0.1  # share of several views that counts, by lowest entropy (utils.py::get_clip_logits)
    positive_size: int = 3  # images for each class
    positive_alpha: float = 2.0
    positive_beta: float = 5.0
    negative_size: int = 2
    negative_alpha: float = 0.117
    negative_beta: float = 1.0
    unsure_from: float = 0.2  # entropies, as a share of the largest, between which an image is unsure
    unsure_to: float = 0.5
    likely: float = 0.03  # probability above which an unsure image may be of a class
    reference_quirks: bool = False  # see above

    def __post_init__(self) -> None:
        """Raise UsageError for caches without room, or shares that are none."""
        super().__post_init__()
        if min(self.positive_size, self.negative_size) < 1:
            raise UsageError("positive_size and negative_size must be 1 or more; an alpha of 0 silences a cache.")
        if not 0 < self.confident <= 1:
            raise UsageError(f"tda.confident is {self.confident}; it is a share of the views, above 0 and at most 1.")


class _Cache:
    """The `size` images of lowest entropy for each class: keys, and what they say of all classes."""

    def __init__(self, like: Tensor, classes: int, size: int, *, alpha: float, beta: float) -> None:
        self.keys = like.new_zeros(classes, size, len(like))  # (C, S, E)
        self.values = like.new_zeros(classes, size, classes)  # (C, S, C), zero where there is no image yet
        self.entropy = torch.full((classes, size), math.inf, dtype=torch.float64)
        self.alpha, self.beta = alpha, beta

    def take(self, label: int, entropy: float, feature: Tensor, value: Tensor) -> None:
        """Put an image in the place of a less certain one of its class, or in an empty place."""
        worst = int(self.entropy[label].argmax())
        if entropy < self.entropy[label, worst]:
            self.keys[label, worst], self.values[label, worst] = feature, value.to(self.values.dtype)
            self.entropy[label, worst] = entropy

    def says(self, feature: Tensor) -> Tensor:
        """(E,) -> (C,)."""
        weights = (-self.beta * (1 - self.keys @ feature)).exp()  # (C, S)
        return self.alpha * (weights.flatten() @ self.values.flatten(0, 1))


@final
class TDA(FrozenHead):
    """Zero-shot scores, corrected by the test images seen so far."""

    reads = Reads.VIEWS
    online = True

    def __init__(self, clip: Clip, classes: Sequence[str], config: TDAConfig = TDAConfig(), *, seed: int = 0) -> None:
        super().__init__(clip, classes, config, seed=seed)
        self.caches: tuple[_Cache, _Cache] | None = None  # positive, negative

    def forget(self) -> None:
        """Start a stream with empty caches."""
        self.caches = None

    def rebuild(self) -> None:
        """Other classes have nothing in the caches."""
        self.forget()

    @torch.no_grad()
    def predict(self, batch: Batch) -> Tensor:
        """Class scores (B, C), each image answered with the caches as it leaves them."""
        features, scores, probabilities = self.read(views_of(batch))
        most = math.log2(len(self.classes)) if self.config.reference_quirks else math.log(len(self.classes))
        entropy = torch.special.entr(probabilities).sum(dim=-1) / max(most, 1e-12)  # (B,)
        labels = scores.argmax(dim=-1)
        positive, negative = self.caches = self.caches or self._empty(features[0])
        for i, (label, unsure) in enumerate(zip(labels.tolist(), entropy.tolist(), strict=True)):
            positive.take(label, unsure, features[i], F.one_hot(labels[i], len(self.classes)))
            if self.config.unsure_from < unsure < self.config.unsure_to:
                negative.take(label, unsure, features[i], probabilities[i] > self.config.likely)
            scores[i] += positive.says(features[i]) - negative.says(features[i])
        return scores

    def read(self, views: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What zero-shot CLIP makes of (B, V, E) views: means over the most certain ones.

        Returns:
            Features (B, E), scores (B, C) and probabilities (B, C).
        """
        views = F.normalize(views, dim=-1)
        scores = self.scores_of(views)  # (B, V, C)
        probabilities = scores.softmax(dim=-1)
        count = max(1, int(self.config.confident * views.shape[1]))
        surest = torch.special.entr(probabilities).sum(dim=-1).argsort(dim=1, stable=True)[:, :count, None]
        features, scores, probabilities = (
            held.take_along_dim(surest, dim=1).mean(dim=1) for held in (views, scores, probabilities)
        )
        return features, scores, probabilities

    def _empty(self, feature: Tensor) -> tuple[_Cache, _Cache]:
        c, classes = self.config, len(self.classes)
        return (
            _Cache(feature, classes, c.positive_size, alpha=c.positive_alpha, beta=c.positive_beta),
            _Cache(feature, classes, c.negative_size, alpha=c.negative_alpha, beta=c.negative_beta),
        )


def recipe(shots: int = 0, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """Nothing is trained."""
    return TrainConfig(epochs=0, augment="none")


VARIANTS = {
    "tda-paper": Variant(TDAConfig(), recipe, "Karmanov et al. 2024 (arXiv:2403.18293): the plain image"),
    "tda-paper-shift": Variant(
        TDAConfig(views=64, augmix=True), recipe, "Karmanov et al. 2024: 64 views, as on ImageNet's variants"
    ),
}
