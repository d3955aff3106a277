"""LoRA on a ViT: low-rank changes of attention, and a linear head. Hu et al., ICLR 2022 (arXiv:2106.09685).

    W becomes W + (alpha / r) B A,   A of rank r from noise, B from zero

for the chosen ones of queries, keys and values in every layer. A starts as torch starts a linear layer, the habit of
LoRA's libraries; the paper has a Gaussian. `clip_lora` is the method of that name for a CLIP.
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
from vlprompt.init import seeded
from vlprompt.learners.base import Reads, Variant, images_of
from vlprompt.learners.headed import Headed, by_adamw
from vlprompt.recipe import TrainConfig

PARTS = "qkv"


@dataclass(frozen=True)
class LoRAConfig:
    """The low-rank changes."""

    rank: int = 8  # as in the comparison of OSU-MLB/ViT_PEFT_Vision (lora_bottleneck)
    alpha: float = 8.0  # the change is scaled by alpha / rank, here 1
    dropout: float = 0.0  # of what A reads
    parts: str = "qv"  # letters of q, k and v (most experiments of Hu et al.: queries and values)

    def __post_init__(self) -> None:
        """Raise UsageError for values that cannot work."""
        if not self.parts or not set(self.parts) <= set(PARTS):
            raise unknown("parts", self.parts, ["q", "k", "v", "qv", PARTS])
        if self.rank < 1 or not self.alpha > 0 or not 0 <= self.dropout < 1:
            raise UsageError(
                f"lora: rank {self.rank} must be 1 or more, alpha {self.alpha} above 0, dropout {self.dropout} from 0 "
                "to below 1."
            )


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
class LoRA(Headed[Vit]):
    """Attention of every layer, changed by a few numbers, and a linear head."""

    reads = Reads.IMAGES
    takes = (Vit,)

    def __init__(self, vit: Vit, classes: Sequence[str], config: LoRAConfig = LoRAConfig(), *, seed: int = 0) -> None:
        super().__init__(vit, classes, config, seed=seed)
        self.adapted = twin(vit)
        self.layers = nn.ModuleList()
        with seeded(seed):
            for block in timm_blocks(self.adapted, "qkv"):
                qkv = block.attn.qkv
                layer = LowRank(qkv.in_features, qkv.out_features // 3, config)
                block.attn.qkv = Beside(qkv, layer.__call__)  # a method: not a part of the frozen copy
                self.layers.append(layer)
        self.to(vit.device)

    def features(self, batch: Batch) -> Tensor:
        """(B, E), by the model with changed attention."""
        return self.adapted.encode_image(images_of(batch))


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """As `adapter`, its neighbour in tables; VPT's authors have no such row."""
    return by_adamw(lr=0.005)


VARIANTS = {"lora-8": Variant(LoRAConfig(), recipe, "Hu et al. 2022 (arXiv:2106.09685): rank 8, queries and values")}
