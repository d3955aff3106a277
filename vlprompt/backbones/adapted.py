"""Attention with something added to its queries, keys and values, in a copy of the modules that shares the weights."""

import copy
from collections.abc import Callable
from itertools import chain
from typing import Any, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.backbones.text_encoding import in_projection
from vlprompt.backbones.vit import Vit
from vlprompt.errors import UsageError

Added = Callable[[Tensor], Tensor]  # (..., D) -> (..., 3D)
B = TypeVar("B", Clip, Vit)


def twin(backbone: B) -> B:
    """A backbone with modules of its own around the same frozen tensors: changing it does not touch the other."""
    # Found out once, on the library's own modules: the fingerprint of the weights, and whether steps give the same.
    _ = backbone.fingerprint, backbone.in_steps
    shared = [*chain(backbone.parameters(), backbone.buffers()), getattr(backbone, "tokenizer", None)]
    return copy.deepcopy(backbone, {id(each): each for each in shared})


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


class Followed(nn.Module):
    """A frozen module h with something joined to its output: h(x) + added(h(x))."""

    def __init__(self, frozen: nn.Module, added: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.frozen, self.added = frozen, added

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D')."""
        h: Tensor = self.frozen(x)
        return h + self.added(h)


class Beside(nn.Module):
    """A frozen module h with something joined that reads the same: h(x) + added(x)."""

    def __init__(self, frozen: nn.Module, added: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.frozen, self.added = frozen, added

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D')."""
        return self.frozen(x) + self.added(x)  # type: ignore[no-any-return]


def timm_blocks(vit: Vit, *parts: str) -> list[Any]:
    """The blocks of a Vit, where each has attention and MLP modules that can be exchanged.

    Args:
        vit: A twin.
        parts: Linear layers of attention that must be modules of their own ("qkv", "proj").

    Raises:
        UsageError: It has no such blocks.
    """
    blocks = list(getattr(vit.model, "blocks", []))
    for block in blocks:
        attention = getattr(block, "attn", None)
        whole = all(isinstance(getattr(attention, part, None), nn.Linear) for part in parts)
        own_bias = "qkv" in parts and getattr(attention, "q_bias", None) is not None  # timm takes its weight, not it
        if not whole or own_bias or not isinstance(getattr(block, "mlp", None), nn.Module):
            blocks = []
            break
    if not blocks:
        raise UsageError(
            f"{vit.name} ({type(vit.model).__name__}) has no layers whose attention can be adapted; use a plain ViT, "
            "such as 'timm:vit_base_patch16_224', or tune its weights (bias, norm, partial, full)."
        )
    return blocks
