"""Tip-Adapter: training images remembered in a cache, nothing trained. Zhang et al., ECCV 2022 (arXiv:2207.09519).

    scores = zero-shot scores + alpha * exp(-beta * (1 - f keys^T)) onehot(labels)

alpha and beta are searched on the task's validation images; without any they are the published values of the data set
(found for ResNet-50), else those of ImageNet. The authors search ImageNet's on its test images; here nothing is ever
chosen on test images. In the paper's text alpha and beta have each other's name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self, final

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
class TipAdapterConfig:
    """The cache of Tip-Adapter."""

    views: int = 10  # augmented views a key is the mean of (configs/*.yaml, augment_epoch)
    dataset: str = ""  # whose published alpha and search range to use; none: the task's, or ImageNet's
    alpha: float = 0.0  # weight of the cache where none is searched; 0: that data set's (configs/*.yaml, init_alpha)
    beta: float = 1.0  # its sharpness, likewise (init_beta)
    templates: tuple[str, ...] = ()  # none: the task's own, or "a photo of a {}."

    def __post_init__(self) -> None:
        """Raise UsageError for values that cannot work, or a template without a place."""
        object.__setattr__(self, "templates", tuple(self.templates))
        if self.views < 1 or not self.alpha >= 0 or not self.beta > 0:
            raise UsageError("tip_adapter: views must be 1 or more, alpha 0 or more, beta above 0.")
        if self.templates:
            ensemble(self.templates)


@final
class TipAdapter(PromptLearner[Clip]):
    """Zero-shot scores plus the votes of the training images that look alike."""

    reads = Reads.FEATURES
    in_order = True
    text: Tensor  # (C, E)

    def __init__(
        self, clip: Clip, classes: Sequence[str], config: TipAdapterConfig = TipAdapterConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(clip, classes, config, seed=seed)
        alpha, self.reach = published(config.dataset)
        self.cache = Cache(len(self.classes), clip.embed_dim, config.alpha or alpha, config.beta).to(clip.device)
        self.register_buffer("text", template_features(clip, self.classes, config.templates), persistent=False)

    @classmethod
    def for_task(cls, backbone: Clip, task: Task, config: TipAdapterConfig, *, seed: int = 0) -> Self:
        """Use the task's templates and published values where the configuration names none."""
        own = replace(config, templates=config.templates or task.templates, dataset=config.dataset or task.name)
        return cls(backbone, task.classes, own, seed=seed)

    @property
    def keeps_classes(self) -> str:
        """The cache knows the classes whose images it holds."""
        return "its cache holds images of these classes only"

    @property
    def views(self) -> int:
        """How many views of an image a key is the mean of."""
        return int(self.config.views)

    def found(self) -> dict[str, Tensor]:
        """The cache's labels, and alpha and beta."""
        return {"cache.labels": self.cache.labels, "cache.weights": self.cache.weights}

    def make_room(self, tensors: Mapping[str, Tensor]) -> None:
        """Fit the cache to a checkpoint's."""
        self.cache.resize(len(tensors.get("cache.labels", ())))

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        features = features_of(batch)
        return self.backbone.scores(features, self.text) + self.cache(features)  # type: ignore[no-any-return]

    def prepare(self, train: Batches, val: Batches | None) -> None:
        """Fill the cache, and search alpha and beta where there are validation images."""
        self.cache.fill(train, self.views)
        if val is not None and val.size:
            features, labels = everything(val, self.text.device)
            self.cache.search(features, self.backbone.scores(features, self.text), labels, self.reach)


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """Nothing is trained; views are random crops of half the image or more (Tip-Adapter, main.py)."""
    return TrainConfig(epochs=0, crop=0.5)


VARIANTS = {"tip-adapter-paper": Variant(TipAdapterConfig(), recipe, "Zhang et al. 2022 (arXiv:2207.09519)")}
