"""VPT: learn tokens of the image tower. Jia et al., ECCV 2022 (arXiv:2203.12119); code: KMnP/vpt.

    shallow:  x = [CLS; p; patches] before the first layer; what becomes of p runs on
    deep:     p is replaced by p_i before every layer i

On a ViT a linear head reads the features; on a CLIP the frozen text features of class names are the classifier (the
prompts enter behind the pre-norm; those of the CoOp family, before it, are `ivlp:vpt-deep`). Prompts start from
U(-v, v), v = sqrt(6 / (3 p_h p_w + D)), the Xavier range of the patch projection. One projection serves all layers.

The code's REVERSE_DEEP (prompts from layer s on) deletes the first P patches (`vit_ablations.py`); here prompts enter
at layer s and nothing is lost. How training departs from the code's is said in `headed.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones import Clip, Vit
from vlprompt.backbones.prompts import Pool, VisualPrompt
from vlprompt.classifier import template_features
from vlprompt.data.batch import Batch
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.head import KEEPS_CLASSES, linear_head
from vlprompt.init import seeded
from vlprompt.learners.base import PromptLearner, Reads, Variant, images_of
from vlprompt.learners.headed import by_sgd
from vlprompt.recipe import TrainConfig
from vlprompt.templates import ensemble


@dataclass(frozen=True)
class VPTConfig:
    """The prompts; src/configs/config.py where nothing else is said."""

    n_prompts: int = 50  # P (demo.ipynb); the paper searches it for each data set
    depth: int = 0  # layers with prompts of their own: 1 is VPT-shallow, 0 is every layer from `start` on (VPT-deep)
    start: int = 0  # the first of them
    projection: int = 0  # width of prompts before a linear map to the tower's; 0 for none
    dropout: float = 0.0  # of prompts, for each image its own (0.1 in demo.ipynb's runs on VTAB-1k)
    pool: Pool = "exclude"  # whether average pooling sees the prompts; "include" is the code's VPT on MAE
    templates: tuple[str, ...] = ()  # on a CLIP; none: the task's own, or "a photo of a {}."

    def __post_init__(self) -> None:
        """Raise UsageError for numbers that cannot work, or a template without a place."""
        object.__setattr__(self, "templates", tuple(self.templates))
        if self.n_prompts < 1 or min(self.depth, self.start, self.projection) < 0 or not 0 <= self.dropout < 1:
            raise UsageError(
                f"n_prompts {self.n_prompts}, depth {self.depth}, start {self.start}, projection {self.projection}, "
                f"dropout {self.dropout}: n_prompts must be 1 or more, dropout from 0 to below 1, the others 0 or more."
            )
        if self.templates:
            ensemble(self.templates)


@final
class VPT(PromptLearner[Vit | Clip]):
    """Prompts of one layer or of many, and a linear head where there are no class names to read."""

    reads = Reads.IMAGES
    takes = (Vit, Clip)
    text: Tensor  # (C, E), on a CLIP

    def __init__(
        self, backbone: Vit | Clip, classes: Sequence[str], config: VPTConfig = VPTConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(backbone, classes, config, seed=seed)
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
            self.projection = projected(inner, width) if config.projection else nn.Identity()
        self.prompts = nn.Parameter(start)  # (J, P, D)
        reads_names = isinstance(backbone, Clip)
        self.head = None if reads_names else linear_head(backbone.embed_dim, len(self.classes), seed=seed)
        self.to(backbone.device)
        self.rebuild()

    @classmethod
    def for_task(cls, backbone: Vit | Clip, task: Task, config: VPTConfig, *, seed: int = 0) -> Self:
        """Use the task's templates where the configuration names none."""
        return cls(backbone, task.classes, replace(config, templates=config.templates or task.templates), seed=seed)

    def rebuild(self) -> None:
        """On a CLIP, encode the current class names."""
        if isinstance(self.backbone, Clip):
            text = template_features(self.backbone, self.classes, self.config.templates)
            self.register_buffer("text", text, persistent=False)

    @property
    def keeps_classes(self) -> str:
        """On a CLIP any names will do."""
        return "" if self.head is None else KEEPS_CLASSES

    def prompt(self, images: int) -> VisualPrompt:
        """The prompts of a batch of so many images."""
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
        assert self.head is not None
        return self.head(features)  # type: ignore[no-any-return]


def projected(inner: int, width: int) -> nn.Linear:
    """The map from the width of prompts to that of tokens, as the code starts it."""
    linear = nn.Linear(inner, width)
    nn.init.kaiming_normal_(linear.weight, a=0, mode="fan_out")
    return linear


def init_range(patch: tuple[int, int], width: int) -> float:
    """v, the half-width of the prompts' first distribution (vit_prompt/vit.py)."""
    return math.sqrt(6 / (3 * patch[0] * patch[1] + width))


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """SGD, with what the authors chose for two of three published tasks of VTAB-1k (demo.ipynb: dmlab, eurosat)."""
    return by_sgd(lr=1.0, weight_decay=1e-3)


VARIANTS = {
    "vpt-deep": Variant(VPTConfig(), recipe, "Jia et al. 2022 (arXiv:2203.12119), VPT-deep"),
    "vpt-shallow": Variant(VPTConfig(depth=1), recipe, "Jia et al. 2022 (arXiv:2203.12119), VPT-shallow"),
}
