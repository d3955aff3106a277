"""LoRA on a ViT: low-rank changes of attention, and a linear head. Hu et al., ICLR 2022 (arXiv:2106.09685).

    W becomes W + (alpha / r) B A,   A of rank r from noise, B from zero

for the chosen ones of queries, keys and values in every layer. `clip_lora` is the method of that name for a CLIP.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones import Vit
from vlprompt.backbones.adapted import Beside, timm_blocks, twin
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError, unknown
from vlprompt.head import linear_head
from vlprompt.init import seeded
from vlprompt.learners.base import PromptLearner, Reads, Variant, images_of
from vlprompt.recipe import TrainConfig

PARTS = "qkv"


@dataclass(frozen=True)
class LoRAConfig:
    """The low-rank changes."""

    rank: int = 8
    alpha: float = 8.0
    dropout: float = 0.0  # of what A reads
    parts: str = "qv"  # letters of q, k and v (Hu et al., section 4.2: queries and values)

    def __post_init__(self) -> None:
        """Raise UsageError for values that cannot work."""
        if not self.parts or not set(self.parts) <= set(PARTS):
            raise unknown("parts", self.parts, ["q", "k", "v", "qv", PARTS])
        if self.rank < 1 or not self.alpha > 0 or not 0 <= self.dropout < 1:
            raise UsageError("lora: rank must be 1 or more, alpha above 0, dropout from 0 to below 1.")


class LowRank(nn.Module):
    """What one layer adds to its queries, keys and values."""

    def __init__(self, width: int, out: int, config: LoRAConfig) -> None:
        super().__init__()
        self.scale, self.dropout, self.out = config.alpha / config.rank, config.dropout, out
        self.where = [PARTS.index(part) for part in sorted(set(config.parts), key=PARTS.index)]
        self.down = nn.Parameter(torch.empty(len(self.where), config.rank, width))  # A of each part
        self.up = nn.Parameter(torch.zeros(len(self.where), out, config.rank))  # B
        for matrix in self.down:
            nn.init.kaiming_uniform_(matrix, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., 3 D'), zero where nothing is learned."""
        x = F.dropout(x, self.dropout, self.training)
        parts = [x.new_zeros(1).expand(*x.shape[:-1], self.out)] * len(PARTS)
        for place, down, up in zip(self.where, self.down.to(x), self.up.to(x), strict=True):
            parts[place] = self.scale * (x @ down.T @ up.T)
        return torch.cat(parts, dim=-1)


@final
class LoRA(PromptLearner[Vit]):
    """Attention of every layer, changed by a few numbers, and a linear head."""

    reads = Reads.IMAGES
    takes = (Vit,)

    def __init__(
        self, vit: Vit, classes: Sequence[str], config: LoRAConfig = LoRAConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(vit, classes, config, seed=seed)
        self.adapted = twin(vit)
        self.layers = nn.ModuleList()
        with seeded(seed):
            for block in timm_blocks(self.adapted, "qkv"):
                qkv = block.attn.qkv
                layer = LowRank(qkv.in_features, qkv.out_features // 3, config)
                block.attn.qkv = Beside(qkv, layer.__call__)  # a method: not a part of the frozen copy
                self.layers.append(layer)
        self.head = linear_head(vit.embed_dim, len(self.classes), seed=seed)
        self.to(vit.device)

    @property
    def keeps_classes(self) -> str:
        """There is a weight vector for each class it saw."""
        return "its head has one weight vector per class and reads no names"

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self.head(self.adapted.encode_image(images_of(batch)))  # type: ignore[no-any-return]


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """AdamW at 1e-3, 100 epochs, 10 of them warm-up (OSU-MLB/ViT_PEFT_Vision, default_vtab)."""
    return TrainConfig(
        epochs=100,
        batch_size=64,
        lr=1e-3,
        optimizer="adamw",
        weight_decay=1e-4,
        warmup="linear",
        warmup_epochs=10,
        warmup_lr=1e-4,
    )


VARIANTS = {"lora-8": Variant(LoRAConfig(), recipe, "Hu et al. 2022 (arXiv:2106.09685): rank 8, queries and values")}
