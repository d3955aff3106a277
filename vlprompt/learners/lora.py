"""LoRA on a ViT: low-rank changes of attention, and a linear head. Hu et al., ICLR 2022 (arXiv:2106.09685).

    W becomes W + (alpha / r) B A,   A of rank r from noise, B from zero

for the queries, keys or values of every layer, as `parts` chooses. A starts as torch's linear layers do, as in LoRA
libraries; the paper has a Gaussian. `clip_lora` is the method of that name for a CLIP.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones import Vit
from vlprompt.backbones.adapters import ParallelAdapter, timm_blocks
from vlprompt.config import Count, Dropout, Positive, Settings
from vlprompt.prompts.headed import Adapted, by_adamw
from vlprompt.randomness import seeded
from vlprompt.training.config import Variant

PARTS = "qkv"


@dataclass(frozen=True)
class LoRAConfig(Settings):
    """The low-rank changes."""

    rank: Count = 8  # as in the comparison of OSU-MLB/ViT_PEFT_Vision (lora_bottleneck)
    alpha: Positive = 8.0  # the change is scaled by alpha / rank, here 1
    dropout: Dropout = 0.0  # of A's input
    parts: Literal["q", "k", "v", "qk", "qv", "kv", "qkv"] = "qv"  # (most experiments of Hu et al.: queries and values)


class LowRank(nn.Module):
    """The change of one layer's queries, keys and values."""

    def __init__(self, width: int, out: int, config: LoRAConfig) -> None:
        super().__init__()
        self.scale, self.dropout, self.out = config.alpha / config.rank, config.dropout, out
        self.places = sorted({PARTS.index(part) for part in config.parts})
        self.down = nn.Parameter(torch.empty(len(self.places), config.rank, width))  # A of each part
        self.up = nn.Parameter(torch.zeros(len(self.places), out, config.rank))  # B
        for matrix in self.down:
            nn.init.kaiming_uniform_(matrix, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., 3 D'), zero for parts that are not changed."""
        x = F.dropout(x, self.dropout, self.training)
        parts = [x.new_zeros(1).expand(*x.shape[:-1], self.out)] * len(PARTS)
        for place, down, up in zip(self.places, self.down.to(x), self.up.to(x), strict=True):
            parts[place] = self.scale * (x @ down.T @ up.T)
        return torch.cat(parts, dim=-1)


@final
class LoRA(Adapted[LoRAConfig]):
    """Low-rank changes of the attention of every layer, and a linear head."""

    Config = LoRAConfig

    def __init__(self, vit: Vit, classes: Sequence[str], config: LoRAConfig | None = None, *, seed: int = 0) -> None:
        super().__init__(vit, classes, config, seed=seed)
        self.layers = nn.ModuleList()
        with seeded(seed):
            for block in timm_blocks(self.adapted, "qkv"):
                qkv = block.attn.qkv
                layer = LowRank(qkv.in_features, qkv.out_features // 3, self.config)
                block.attn.qkv = ParallelAdapter(qkv, layer.__call__)  # a bound method, so no submodule of the twin
                self.layers.append(layer)
        self.to(vit.device)


RECIPE = by_adamw(lr=0.005)  # as `adapter`; VPT's authors have no such row
VARIANTS = {"lora-8": Variant(LoRAConfig(), RECIPE, "Hu et al. 2022 (arXiv:2106.09685): rank 8, queries and values")}
