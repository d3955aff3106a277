"""CLIP-Adapter: a small residual network on image features. Gao et al., IJCV 2023 (arXiv:2110.04544).

    f' = ratio * relu(W2 relu(W1 f)) + (1 - ratio) * f

The authors' code (gaopengcuhk/CLIP-Adapter, clip_adapter.py) fixes the width at 1024, that of ResNet-50; here it is the
model's. The paper searches the ratio for each data set; the code has 0.2 for all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.config import Count, Settings, Share
from vlprompt.data.batch import Batch, features_of
from vlprompt.data.templates import Templates
from vlprompt.prompts.cosine import CosineLearner
from vlprompt.prompts.recipes import recipe
from vlprompt.prompts.zero_shot_head import template_features
from vlprompt.randomness import seeded
from vlprompt.training.config import Variant


@dataclass(frozen=True)
class CLIPAdapterConfig(Settings):
    """The adapter and the fixed prompts."""

    ratio: Share = 0.2  # share of the adapted feature (clip_adapter.py)
    reduction: Count = 4  # hidden width: the features' width divided by this (clip_adapter.py)
    templates: Templates = ()  # none: the task's own, or "a photo of a {}."


@final
class CLIPAdapter(CosineLearner[CLIPAdapterConfig]):
    """A bottleneck joined to every image feature; text features never change."""

    Config = CLIPAdapterConfig
    from_task = ("templates",)
    frozen: Tensor  # (C, E) text features

    def __init__(
        self, clip: Clip, classes: Sequence[str], config: CLIPAdapterConfig | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(clip, classes, config, seed=seed)
        width = clip.embed_dim
        hidden = max(1, width // self.config.reduction)
        with seeded(seed):
            down, up = nn.Linear(width, hidden, bias=False), nn.Linear(hidden, width, bias=False)
        self.adapter = nn.Sequential(down, nn.ReLU(), up, nn.ReLU()).to(clip.device)
        self.rebuild()

    def rebuild(self) -> None:
        """Encode the current class names."""
        frozen = template_features(self.backbone, self.classes, self.config.templates)
        self.register_buffer("frozen", frozen, persistent=False)

    def text(self) -> Tensor:
        """(1, C, E) text features."""
        return self.frozen[None]

    def image_features(self, batch: Batch) -> Tensor:
        """(B, E), adapted."""
        features, ratio = features_of(batch), self.config.ratio
        return ratio * self.adapter(features) + (1 - ratio) * features  # type: ignore[no-any-return]


# CoOp's training, which the authors' README recommends for the code; they released no settings of their own.
VARIANTS = {"released": Variant(CLIPAdapterConfig(), recipe, "Gao et al. 2021 (arXiv:2110.04544), clip_adapter.py")}
