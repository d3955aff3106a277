"""CLIP-Adapter: a small residual network on image features. Gao et al., IJCV 2023 (arXiv:2110.04544).

    f' = ratio * relu(W2 relu(W1 f)) + (1 - ratio) * f

The authors' code (gaopengcuhk/CLIP-Adapter, clip_adapter.py) fixes the width at 1024, that of ResNet-50; here it is the
model's. The paper searches the ratio for each data set; the code has 0.2 for all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self, final

from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.classifier import template_features
from vlprompt.data.batch import Batch
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.init import seeded
from vlprompt.learners.base import PromptLearner, Reads, Variant, features_of
from vlprompt.recipe import TrainConfig
from vlprompt.templates import ensemble


@dataclass(frozen=True)
class CLIPAdapterConfig:
    """The adapter and the fixed prompts."""

    ratio: float = 0.2  # share of the adapted feature (clip_adapter.py)
    reduction: int = 4  # hidden width: the features' width divided by this (clip_adapter.py)
    templates: tuple[str, ...] = ()  # none: the task's own, or "a photo of a {}."

    def __post_init__(self) -> None:
        """Raise UsageError for a ratio that is no share, no width, or a template without a place."""
        object.__setattr__(self, "templates", tuple(self.templates))
        if not 0 < self.ratio <= 1 or self.reduction < 1:
            raise UsageError(f"ratio {self.ratio} must be above 0 and at most 1, reduction {self.reduction} 1 or more.")
        if self.templates:
            ensemble(self.templates)


@final
class CLIPAdapter(PromptLearner[Clip]):
    """A bottleneck joined to every image feature; text features never change."""

    reads = Reads.FEATURES
    text: Tensor  # (C, E)

    def __init__(
        self, clip: Clip, classes: Sequence[str], config: CLIPAdapterConfig = CLIPAdapterConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(clip, classes, config, seed=seed)
        width = clip.embed_dim
        hidden = max(1, width // config.reduction)
        with seeded(seed):
            down, up = nn.Linear(width, hidden, bias=False), nn.Linear(hidden, width, bias=False)
        self.adapter = nn.Sequential(down, nn.ReLU(), up, nn.ReLU()).to(clip.device)
        self.rebuild()

    @classmethod
    def for_task(cls, backbone: Clip, task: Task, config: CLIPAdapterConfig, *, seed: int = 0) -> Self:
        """Use the task's templates where the configuration names none."""
        return cls(backbone, task.classes, replace(config, templates=config.templates or task.templates), seed=seed)

    def rebuild(self) -> None:
        """Encode the current class names."""
        text = template_features(self.backbone, self.classes, self.config.templates)
        self.register_buffer("text", text, persistent=False)

    @property
    def keeps_classes(self) -> str:
        """Any names will do."""
        return ""

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        features = features_of(batch)
        ratio = self.config.ratio
        return self.backbone.scores(ratio * self.adapter(features) + (1 - ratio) * features, self.text)


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:
    """CoOp's training, which the authors' README says to run the code with; they released no settings of their own."""
    return TrainConfig(epochs=50 if shots <= 1 or dataset == "imagenet" else 100 if shots <= 4 else 200)


VARIANTS = {"released": Variant(CLIPAdapterConfig(), recipe, "Gao et al. 2021 (arXiv:2110.04544), clip_adapter.py")}
