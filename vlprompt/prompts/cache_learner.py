"""CacheLearner: zero-shot scores plus a key cache, what Tip-Adapter and Tip-Adapter-F share."""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from vlprompt.backbones.clip import Clip
from vlprompt.config import Count, NonNegative, Positive, Settings
from vlprompt.data.batch import Batch, features_of
from vlprompt.data.batches import Batches
from vlprompt.data.needs import Needs
from vlprompt.data.templates import Templates
from vlprompt.learner import PromptLearner
from vlprompt.prompts.key_cache import PUBLISHED, KeyCache
from vlprompt.prompts.zero_shot_head import template_features


@dataclass(frozen=True)
class CacheConfig(Settings):
    """A key cache and the words around class names."""

    views: Count = 10  # augmented views of an image whose mean is its key at first (configs/*.yaml, augment_epoch)
    # Whose published alpha and search range to use; none: the task's. Without published ones they are ImageNet's, and
    # the range becomes wider where its end is the best.
    dataset: str = ""
    alpha: NonNegative = 0.0  # weight of the cache before any search; 0: the published one of `dataset` (init_alpha)
    beta: Positive = 1.0  # sharpness of the cache before any search (init_beta)
    templates: Templates = ()  # none: the task's own, or "a photo of a {}."


K = TypeVar("K", bound=CacheConfig)


class CacheLearner(PromptLearner[Clip, K], abc.ABC):
    """Zero-shot scores plus the votes of similar training images.

    Attributes:
        cache: The training images; `prepare` fills it.
        text: (C, E) text features of the class names.
        held_out: Features (V, E) and labels (V,) of validation images; None where there are none.
    """

    needs = Needs(ordered=True)
    from_task = ("templates", "dataset")
    why_classes_fixed = "its cache holds images of these classes only"
    text: Tensor

    def __init__(self, clip: Clip, classes: Sequence[str], config: K | None = None, *, seed: int = 0) -> None:
        super().__init__(clip, classes, config, seed=seed)
        self.needs = replace(self.needs, train_views=self.config.views)
        alpha, self.limits = PUBLISHED.get(self.config.dataset, PUBLISHED["imagenet"])
        weights = self.config.alpha or alpha, self.config.beta
        self.cache = KeyCache(len(self.classes), clip.embed_dim, *weights).to(clip.device)
        self.register_buffer("text", template_features(clip, self.classes, self.config.templates), persistent=False)
        self.held_out: tuple[Tensor, Tensor] | None = None

    def resize_for(self, tensors: Mapping[str, Tensor]) -> None:
        """Give the cache as many keys as a saved prompt has."""
        self.cache.resize(len(tensors.get("cache.labels", ())))

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self.feature_scores(features_of(batch))

    def feature_scores(self, features: Tensor) -> Tensor:
        """(B, E) features -> (B, C) scores."""
        return self.backbone.scores(features, self.text) + self.cache(features)  # type: ignore[no-any-return]

    def prepare(self, train: Batches, val: Batches | None) -> None:
        """Fill the cache, and read the validation images."""
        self.cache.fill(train, self.config.views)
        self.held_out = _all(val, self.text.device) if val is not None and val.size else None

    def search(self) -> None:
        """Set alpha and beta to the best values on the validation images, if there are any."""
        if self.held_out is not None:
            features, labels = self.held_out
            widen = self.config.dataset not in PUBLISHED
            self.cache.search(features, self.backbone.scores(features, self.text), labels, self.limits, widen=widen)


def _all(batches: Batches, device: torch.device) -> tuple[Tensor, Tensor]:
    """All features (N, E) and labels (N,) of one epoch."""
    pairs = [(features_of(batch), batch.labels) for batch in batches.epoch(0)]
    return torch.cat([x for x, _ in pairs]).to(device), torch.cat([y for _, y in pairs]).to(device)
