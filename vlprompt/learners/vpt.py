"""VPT: learn tokens of the image tower. Jia et al., ECCV 2022 (arXiv:2203.12119); code: KMnP/vpt.

    shallow:  x = [CLS; p; patches] before the first layer; the prompts' outputs run through the later layers
    deep:     p is replaced by p_i before every layer i

On a ViT a linear head reads the features; on a CLIP the frozen text features of class names are the classifier (the
prompts enter behind the pre-norm; those of the CoOp family, before it, are `ivlp:vpt-deep`). Prompts start from
U(-v, v), v = sqrt(6 / (3 p_h p_w + D)), the Xavier range of the patch projection. One projection serves all layers.

The code's REVERSE_DEEP (prompts from layer s on) deletes the first P patches (`vit_ablations.py`); here prompts enter
at layer s and no patch is lost. `prompts/headed.py` lists the departures in training.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones import Clip, Vit
from vlprompt.backbones.prompt_types import Pool, VisualPrompt
from vlprompt.config import Count, CountOrZero, Dropout, Settings
from vlprompt.data.batch import Batch, images_of
from vlprompt.data.needs import Input, Needs
from vlprompt.data.templates import Templates
from vlprompt.errors import UsageError
from vlprompt.prompts.head import GrowingHead, linear_head
from vlprompt.prompts.headed import by_sgd, projection
from vlprompt.prompts.zero_shot_head import template_features
from vlprompt.randomness import seeded
from vlprompt.training.config import Variant


@dataclass(frozen=True)
class VPTConfig(Settings):
    """The prompts; values from src/configs/config.py unless another source is named."""

    n_prompts: Count = 50  # P (demo.ipynb); the paper searches it for each data set
    depth: CountOrZero = 0  # layers with their own prompts; 1: VPT-shallow, 0: every layer from `start` on (VPT-deep)
    start: CountOrZero = 0  # the first of them
    projection: CountOrZero = 0  # width of prompts before a linear map to the tower's; 0 for none
    dropout: Dropout = 0.0  # of prompts, separately for each image (0.1 in demo.ipynb's runs on VTAB-1k)
    pool: Pool = "exclude"  # whether average pooling sees the prompts; "include" is the code's VPT on MAE
    templates: Templates = ()  # on a CLIP; none: the task's own, or "a photo of a {}."


@final
class VPT(GrowingHead[Vit | Clip, VPTConfig]):
    """Prompts of one layer or of many, and a linear head on a ViT or class names on a CLIP.

    Attributes:
        prompts: (J, P, D), or (J, P, `config.projection`).
        text: (C, E) text features, on a CLIP.
    """

    Config = VPTConfig
    needs = Needs(input=Input.IMAGES)
    backbones = (Vit, Clip)
    from_task = ("templates",)
    text: Tensor

    def __init__(
        self, backbone: Vit | Clip, classes: Sequence[str], config: VPTConfig | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(backbone, classes, config, seed=seed)
        config = self.config
        width, layers = backbone.vision_width, backbone.vision_layers
        depth = config.depth or layers - config.start
        if config.start + depth > layers or depth < 1:
            raise UsageError(
                f"vpt: prompts for {config.depth or 'all'} layers from {config.start} on were asked for, the image "
                f"tower has {layers}."
            )
        inner = config.projection or width
        spread = init_range(backbone.image_tokens.tower.patch, inner)
        with seeded(seed):
            start = torch.empty(depth, config.n_prompts, inner).uniform_(-spread, spread)
            self.projection = projection(inner, width) if config.projection else nn.Identity()
        self.prompts = nn.Parameter(start)
        if isinstance(backbone, Clip):
            self.why_classes_fixed = ""
        else:
            self.head = linear_head(backbone.embed_dim, len(self.classes), seed=seed)
        self.to(backbone.device)
        self.rebuild()

    def rebuild(self) -> None:
        """On a CLIP, encode the current class names."""
        if isinstance(self.backbone, Clip):
            text = template_features(self.backbone, self.classes, self.config.templates)
            self.register_buffer("text", text, persistent=False)

    def prompt(self, images: int) -> VisualPrompt:
        """The prompts for a batch of B images."""
        tokens = self.projection(self.prompts)  # (J, P, D)
        if self.training and self.config.dropout:
            each = tokens[:, None].expand(-1, images, -1, -1)  # (J, B, P, D)
            tokens = F.dropout(each, self.config.dropout)
        return VisualPrompt(dict(enumerate(tokens, self.config.start)), "replace", "blocks", self.config.pool)

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        features = self.backbone.encode_image(images_of(batch), self.prompt(len(batch)))
        if isinstance(self.backbone, Clip):
            return self.backbone.scores(features, self.text)
        return self.head(features)  # type: ignore[no-any-return]


def init_range(patch: tuple[int, int], width: int) -> float:
    """v, half the width of the prompts' initial uniform distribution (vit_prompt/vit.py)."""
    return math.sqrt(6 / (3 * patch[0] * patch[1] + width))


# Rate and decay that the authors published for two tasks of VTAB-1k, with P = 100 and dropout 0.1 (demo.ipynb: dmlab,
# eurosat). They are far too high for ViT-Tiny; search a smaller grid there.
RECIPE = by_sgd(lr=1.0, weight_decay=1e-3)
VARIANTS = {
    "vpt-deep": Variant(VPTConfig(), RECIPE, "Jia et al. 2022 (arXiv:2203.12119), VPT-deep"),
    "vpt-deep-vtab": Variant(
        VPTConfig(n_prompts=100, dropout=0.1),
        RECIPE,
        "Jia et al. 2022, demo.ipynb: dmlab and eurosat of VTAB-1k, P=100",
    ),
    "vpt-shallow": Variant(VPTConfig(depth=1), RECIPE, "Jia et al. 2022 (arXiv:2203.12119), VPT-shallow"),
}
