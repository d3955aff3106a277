"""Tip-Adapter-F: a cache whose keys are fine-tuned. Zhang et al., ECCV 2022 (arXiv:2207.09519), section 3.3.

Keys start as those of Tip-Adapter and are trained with the published alpha and beta of the data set; labels stay.
Of all epochs the one that does best on the task's validation images is kept, and alpha and beta are searched there;
without validation images it is the last epoch and the published values.

The authors' code (gaopengcuhk/Tip-Adapter, main.py) chooses the epoch by its accuracy on the test images and reports
the better of two test accuracies. There is no `reference_quirks` for that: `fit` never sees test images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self, final

import torch
from torch import Tensor

from vlprompt.backbones.clip import Clip
from vlprompt.cache import Cache, everything, published
from vlprompt.classifier import template_features
from vlprompt.data.batch import Batch
from vlprompt.data.loaders import Batches
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.learners.base import PromptLearner, Reads, Variant, features_of
from vlprompt.recipe import TrainConfig
from vlprompt.templates import ensemble


@dataclass(frozen=True)
class TipAdapterFConfig:
    """The cache of Tip-Adapter-F."""

    views: int = 10  # augmented views a key starts as the mean of (configs/*.yaml, augment_epoch)
    dataset: str = ""  # whose published alpha and search range to use; none: the task's, or ImageNet's
    alpha: float = 0.0  # weight of the cache in training; 0: that data set's (configs/*.yaml, init_alpha)
    beta: float = 1.0  # its sharpness in training (init_beta)
    templates: tuple[str, ...] = ()  # none: the task's own, or "a photo of a {}."

    def __post_init__(self) -> None:
        """Raise UsageError for values that cannot work, or a template without a place."""
        object.__setattr__(self, "templates", tuple(self.templates))
        if self.views < 1 or not self.alpha >= 0 or not self.beta > 0:
            raise UsageError("tip_adapter_f: views must be 1 or more, alpha 0 or more, beta above 0.")
        if self.templates:
            ensemble(self.templates)


@final
class TipAdapterF(PromptLearner[Clip]):
    """Zero-shot scores plus the votes of keys that were training images once."""

    reads = Reads.FEATURES
    in_order = True
    text: Tensor  # (C, E)

    def __init__(
        self, clip: Clip, classes: Sequence[str], config: TipAdapterFConfig = TipAdapterFConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(clip, classes, config, seed=seed)
        alpha, self.reach = published(config.dataset)
        self.cache = Cache(len(self.classes), clip.embed_dim, config.alpha or alpha, config.beta).to(clip.device)
        self.register_buffer("text", template_features(clip, self.classes, config.templates), persistent=False)
        self.held_out: tuple[Tensor, Tensor] | None = None  # (V, E) and (V,)

    @classmethod
    def for_task(cls, backbone: Clip, task: Task, config: TipAdapterFConfig, *, seed: int = 0) -> Self:
        """Use the task's templates and published values where the configuration names none."""
        own = replace(config, templates=config.templates or task.templates, dataset=config.dataset or task.name)
        return cls(backbone, task.classes, own, seed=seed)

    @property
    def keeps_classes(self) -> str:
        """The cache knows the classes whose images it holds."""
        return "its cache holds images of these classes only"

    @property
    def views(self) -> int:
        """How many views of an image a key starts as the mean of."""
        return int(self.config.views)

    def found(self) -> dict[str, Tensor]:
        """The cache's labels, and alpha and beta."""
        return {"cache.labels": self.cache.labels, "cache.weights": self.cache.weights}

    def memory(self) -> dict[str, Tensor]:
        """The best keys so far, how many validation images they answer rightly, and alpha and beta."""
        return {"best": self.best, "right": self.right, "weights": self.cache.weights}

    def make_room(self, tensors: Mapping[str, Tensor]) -> None:
        """Fit the cache to a checkpoint's."""
        self.cache.resize(len(tensors.get("cache.labels", ())))

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self.scores(features_of(batch))

    def scores(self, features: Tensor) -> Tensor:
        """(B, E) features -> (B, C) scores."""
        return self.backbone.scores(features, self.text) + self.cache(features)  # type: ignore[no-any-return]

    def prepare(self, train: Batches, val: Batches | None) -> None:
        """Fill the cache, and hold validation images ready."""
        self.cache.fill(train, self.views)
        self.best, self.right = self.cache.keys.detach().clone(), torch.tensor(0)
        self.held_out = everything(val, self.text.device) if val is not None and val.size else None

    @torch.no_grad()
    def end_epoch(self, epoch: int, epochs: int) -> None:
        """Keep the keys if they are the best on validation data; at the end, search alpha and beta for them."""
        if self.held_out is None:
            return
        features, labels = self.held_out
        right = (self.scores(features).argmax(dim=-1) == labels).sum().cpu()
        if right > self.right:
            self.right.copy_(right)
            self.best.copy_(self.cache.keys)
        if epoch == epochs:
            self.cache.keys.copy_(self.best)
            self.cache.search(features, self.backbone.scores(features, self.text), labels, self.reach)


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """The authors' training: AdamW, cosine per step, 20 epochs, EuroSAT 100 (main.py, configs/*.yaml).

    They keep a last incomplete batch, which is dropped here where there is a complete one.
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


VARIANTS = {"tip-adapter-paper": Variant(TipAdapterFConfig(), recipe, "Zhang et al. 2022 (arXiv:2207.09519)")}
