"""Attention with something added to its queries, keys and values, in a copy of the modules that shares the weights."""

import copy
from collections.abc import Callable
from itertools import chain
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.backbones.text_encoding import in_projection
from vlprompt.errors import UsageError

Added = Callable[[Tensor], Tensor]  # (..., D) -> (..., 3D)


def twin(clip: Clip) -> Clip:
    """A Clip with modules of its own around the same frozen tensors: what is changed in it does not touch the other."""
    _ = clip.fingerprint  # of the weights both share, computed once
    shared = [*chain(clip.parameters(), clip.buffers()), clip.tokenizer]
    return copy.deepcopy(clip, {id(each): each for each in shared})


class AdaptedAttention(nn.Module):
    """Self-attention of a frozen `nn.MultiheadAttention`, with `added(x)` joined to its in-projection."""

    def __init__(self, attention: nn.MultiheadAttention, added: Added) -> None:
        super().__init__()
        self.frozen = attention
        self.added = added
        self.num_heads, self.out_proj = attention.num_heads, attention.out_proj

    def in_projection(self, x: Tensor) -> Tensor:
        """(..., D) -> queries, keys and values (..., 3D)."""
        return in_projection(self.frozen, x) + self.added(x)

    def forward(self, query: Tensor, *_: Tensor, attn_mask: Tensor | None = None, **__: bool) -> tuple[Tensor, None]:
        """What `nn.MultiheadAttention` answers to a block of open_clip, which passes the same x three times."""
        x = query if self.frozen.batch_first else query.transpose(0, 1)
        heads = self.in_projection(x).reshape(*x.shape[:2], 3, self.num_heads, -1)  # (B, L, 3, H, d)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask).transpose(1, 2).flatten(2)
        out = self.out_proj(out)
        return (out if self.frozen.batch_first else out.transpose(0, 1)), None


def blocks_of(tower: Any, name: str) -> list[Any]:
    """The residual blocks of a tower whose attention can be adapted.

    Raises:
        UsageError: The tower is not one of open_clip's own transformers.
    """
    blocks = list(getattr(getattr(tower, "transformer", None), "resblocks", []))
    if not blocks or any(not isinstance(getattr(block, "attn", None), nn.MultiheadAttention) for block in blocks):
        raise UsageError(
            f"the {name} tower ({type(tower).__name__}) has no attention that can be adapted; use a model with "
            "open_clip's own transformers, such as ViT-B-16, or adapt the other tower only."
        )
    return blocks
