"""TDA: two caches of test images, filled as they arrive. Karmanov et al., CVPR 2024 (arXiv:2403.18293), section 3.

The positive cache holds, for each class, the images that zero-shot CLIP classified so with the lowest entropy; the
negative cache holds uncertain images, with their possible classes. Both correct the scores of every later image, as in
Tip-Adapter:

    scores = zero_shot + alpha+ sum_k exp(-beta+ (1 - f.k)) onehot_k - alpha- sum_k exp(-beta- (1 - f.k)) [p_k > 0.03]

An image enters the caches before it is classified (kdiAAA/TDA, tda_runner.py). This is online: a prediction depends on
the earlier images and their order, and every stream starts from empty caches.

The default alpha+ and beta+ are those of ImageNet; the released code, whose README reports results of settings for each
data set, has others for most, and seven templates for some (`published`; the eighty that it has for ImageNet-R and
ImageNet-Sketch are left out). It also divides the entropy, in nats, by log2(C) where a share of the
largest entropy is ln(C), so that other images enter the negative cache: `reference_quirks` does that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self, final

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.backbones.clip import Clip
from vlprompt.config import Count, Fraction, NonNegative, Share
from vlprompt.data.batch import Batch, views_of
from vlprompt.data.task import Task
from vlprompt.data.templates import IMAGENET_SELECT
from vlprompt.prompts.frozen_head import ViewsConfig, ViewsHead, by_certainty, share_of
from vlprompt.training.config import NO_TRAINING, Variant


@dataclass(frozen=True)
class TDAConfig(ViewsConfig):
    """Sizes and weights of the caches; defaults from kdiAAA/TDA, configs/imagenet.yaml."""

    views: Count = 1  # the plain image; 64 on ImageNet's variants (utils.py)
    augmix: bool = False  # on ImageNet's variants (utils.py::get_ood_preprocess)
    confident: Share = 0.1  # share of several views that counts, by lowest entropy (utils.py::get_clip_logits)
    positive_size: Count = 3  # images for each class
    positive_alpha: NonNegative = 2.0
    positive_beta: NonNegative = 5.0
    negative_size: Count = 2
    negative_alpha: NonNegative = 0.117
    negative_beta: NonNegative = 1.0
    unsure_from: Fraction = 0.2  # an image is uncertain between these entropies, as shares of the largest
    unsure_to: Fraction = 0.5
    likely: Fraction = 0.03  # probability above which an uncertain image may be of a class
    published: bool = False  # a task's data set decides positive_alpha and positive_beta, and some templates
    reference_quirks: bool = False  # see above


# alpha+ and beta+ by data set (kdiAAA/TDA, configs/*.yaml).
PUBLISHED = {
    "caltech101": (5.0, 5.0), "dtd": (2.0, 3.0), "eurosat": (4.0, 8.0), "fgvc_aircraft": (2.0, 2.0),
    "food101": (1.0, 1.0), "imagenet": (2.0, 5.0), "imagenet_a": (2.0, 5.0), "imagenet_r": (1.0, 8.0),
    "imagenet_sketch": (2.363, 7.45), "imagenetv2": (1.0, 8.0), "oxford_flowers": (1.0, 5.0), "oxford_pets": (2.0, 7.0),
    "stanford_cars": (1.0, 7.0), "sun397": (2.0, 3.0), "ucf101": (3.0, 8.0),
}  # fmt: skip
SEVEN_TEMPLATES = ("imagenet", "imagenet_a", "imagenetv2", "caltech101", "stanford_cars", "sun397")  # (datasets/*.py)


class _StreamCache:
    """The `size` images of lowest entropy for each class: their features, and their weight for each class."""

    def __init__(self, like: Tensor, classes: int, size: int, *, alpha: float, beta: float) -> None:
        self.keys = like.new_zeros(classes, size, len(like))  # (C, S, E)
        self.values = like.new_zeros(classes, size, classes)  # (C, S, C), zero where there is no image yet
        self.entropy = torch.full((classes, size), math.inf, dtype=torch.float64)
        self.alpha, self.beta = alpha, beta

    def add(self, label: int, entropy: float, feature: Tensor, value: Tensor) -> None:
        """Replace the least certain image of a class if this one is more certain, or fill an empty place."""
        worst = int(self.entropy[label].argmax())
        if entropy < self.entropy[label, worst]:
            self.keys[label, worst], self.values[label, worst] = feature, value.to(self.values.dtype)
            self.entropy[label, worst] = entropy

    def scores(self, feature: Tensor) -> Tensor:
        """(E,) -> (C,)."""
        weights = (-self.beta * (1 - self.keys @ feature)).exp()  # (C, S)
        return self.alpha * (weights.flatten() @ self.values.flatten(0, 1))


@final
class TDA(ViewsHead[TDAConfig]):
    """Zero-shot scores, corrected by the earlier test images."""

    Config = TDAConfig

    def __init__(self, clip: Clip, classes: Sequence[str], config: TDAConfig | None = None, *, seed: int = 0) -> None:
        super().__init__(clip, classes, config, seed=seed)
        self.reset()

    @classmethod
    def for_task(cls, backbone: Clip, task: Task, config: TDAConfig, *, seed: int = 0) -> Self:
        """Build the head with the templates of the task, and its published weights where the config asks for them."""
        return super().for_task(backbone, task, of_dataset(config, task.dataset), seed=seed)

    @classmethod
    def templates_of(cls, task: Task, config: TDAConfig) -> tuple[str, ...]:
        """The task's; with `published` the seven selected on ImageNet for some data sets."""
        return IMAGENET_SELECT if config.published and task.dataset in SEVEN_TEMPLATES else task.templates

    def begin_task(self, task: Task) -> None:
        """Use a task's class names, templates and published weights, where the config leaves them open."""
        super().begin_task(task)
        self.config = of_dataset(self.config, task.dataset)

    def reset(self) -> None:
        """Empty the caches: a new stream begins."""
        self.caches: tuple[_StreamCache, _StreamCache] | None = None  # positive, negative

    def rebuild(self) -> None:
        """Empty the caches, which hold nothing of new classes."""
        self.reset()

    @torch.no_grad()
    def predict(self, batch: Batch) -> Tensor:
        """Class scores (B, C); each image updates the caches before they correct its scores."""
        features, scores, probabilities = self.read(views_of(batch))
        entropy = self.uncertainty(probabilities)  # (B,)
        labels = scores.argmax(dim=-1)
        positive, negative = self.caches = self.caches or self._empty(features[0])
        for i, (label, unsure) in enumerate(zip(labels.tolist(), entropy.tolist(), strict=True)):
            positive.add(label, unsure, features[i], F.one_hot(labels[i], len(self.classes)))
            if self.is_unsure(unsure):
                negative.add(label, unsure, features[i], probabilities[i] > self.config.likely)
            scores[i] += positive.scores(features[i]) - negative.scores(features[i])
        return scores

    def uncertainty(self, probabilities: Tensor) -> Tensor:
        """(B, C) probabilities -> (B,) entropies, as shares of the largest."""
        largest = math.log2(len(self.classes)) if self.config.reference_quirks else math.log(len(self.classes))
        nats: Tensor = torch.special.entr(probabilities).sum(dim=-1)
        return nats / max(largest, 1e-12)

    def is_unsure(self, uncertainty: float) -> bool:
        """Whether an image is offered to the negative cache; none is where that has no weight."""
        return self.config.negative_alpha > 0 and self.config.unsure_from < uncertainty < self.config.unsure_to

    def read(self, views: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Zero-shot results for (B, V, E) views: means over the most certain ones.

        Returns:
            Features (B, E), scores (B, C) and probabilities (B, C).
        """
        views = F.normalize(views, dim=-1)
        scores = self.view_scores(views)  # (B, V, C)
        chosen = by_certainty(scores)[:, : share_of(self.config.confident, views.shape[1]), None]
        features, scores, probabilities = (
            each.take_along_dim(chosen, dim=1).mean(dim=1) for each in (views, scores, scores.softmax(dim=-1))
        )
        return features, scores, probabilities

    def _empty(self, feature: Tensor) -> tuple[_StreamCache, _StreamCache]:
        c, classes = self.config, len(self.classes)
        positive = _StreamCache(feature, classes, c.positive_size, alpha=c.positive_alpha, beta=c.positive_beta)
        return positive, _StreamCache(feature, classes, c.negative_size, alpha=c.negative_alpha, beta=c.negative_beta)


def of_dataset(config: TDAConfig, dataset: str) -> TDAConfig:
    """The settings for a data set of the catalogue."""
    if not config.published or dataset not in PUBLISHED:
        return config
    alpha, beta = PUBLISHED[dataset]
    return replace(config, positive_alpha=alpha, positive_beta=beta)


VARIANTS = {
    "tda-paper": Variant(TDAConfig(), NO_TRAINING, "Karmanov et al. 2024 (arXiv:2403.18293): the plain image"),
    "tda-paper-shift": Variant(
        TDAConfig(views=64, augmix=True), NO_TRAINING, "Karmanov et al. 2024: 64 views, as on ImageNet's variants"
    ),
    "tda-code": Variant(
        TDAConfig(published=True, reference_quirks=True), NO_TRAINING, "kdiAAA/TDA: alpha+ and beta+ of each data set"
    ),
    "tda-code-shift": Variant(
        TDAConfig(views=64, augmix=True, published=True, reference_quirks=True),
        NO_TRAINING,
        "kdiAAA/TDA on ImageNet and its variants: alpha+ and beta+ of each data set",
    ),
}
