"""Adapters: modules added inside a frozen model, in a copy of its modules that shares the weights."""

import copy
from collections.abc import Callable
from itertools import chain
from typing import Any, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.attention import in_projection
from vlprompt.backbones.clip import Clip
from vlprompt.backbones.vit import Vit
from vlprompt.errors import UsageError

Added = Callable[[Tensor], Tensor]
B = TypeVar("B", Clip, Vit)


def copy_sharing_weights(backbone: B) -> B:
    """Copy a backbone's modules around the same frozen tensors; changes to the copy do not affect the original."""
    # Both are computed once, on the library's own modules, and then copied.
    _ = backbone.fingerprint, backbone.in_steps
    shared = [*chain(backbone.parameters(), backbone.buffers()), getattr(backbone, "tokenizer", None)]
    return copy.deepcopy(backbone, {id(each): each for each in shared})


class AdaptedAttention(nn.Module):
    """Self-attention of a frozen `nn.MultiheadAttention`, with `added(x)` (..., 3D) joined to its in-projection."""

    def __init__(self, attention: nn.MultiheadAttention, added: Added) -> None:
        super().__init__()
        self.frozen, self.added = attention, added
        self.num_heads, self.out_proj = attention.num_heads, attention.out_proj

    def in_projection(self, x: Tensor) -> Tensor:
        """(..., D) -> queries, keys and values (..., 3D)."""
        return in_projection(self.frozen, x) + self.added(x)

    def forward(self, query: Tensor, *_: Tensor, attn_mask: Tensor | None = None, **__: bool) -> tuple[Tensor, None]:
        """The output of `nn.MultiheadAttention` in a block of open_clip, which passes the same x three times."""
        x = query if self.frozen.batch_first else query.transpose(0, 1)
        heads = self.in_projection(x).reshape(*x.shape[:2], 3, self.num_heads, -1)  # (B, L, 3, H, d)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask).transpose(1, 2).flatten(2)
        out = self.out_proj(out)
        return (out if self.frozen.batch_first else out.transpose(0, 1)), None


class SequentialAdapter(nn.Module):
    """A frozen module h followed by an adapter of its output: h(x) + added(h(x))."""

    def __init__(self, frozen: nn.Module, added: Added) -> None:
        super().__init__()
        self.frozen, self.added = frozen, added

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D')."""
        h: Tensor = self.frozen(x)
        return h + self.added(h)


class ParallelAdapter(nn.Module):
    """A frozen module h and an adapter of the same input: h(x) + added(x)."""

    def __init__(self, frozen: nn.Module, added: Added) -> None:
        super().__init__()
        self.frozen, self.added = frozen, added

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D')."""
        return self.frozen(x) + self.added(x)  # type: ignore[no-any-return]


def open_clip_blocks(tower: Any, name: str) -> list[Any]:
    """The residual blocks of one of open_clip's own transformers (`name`: "text" or "vision"), else UsageError."""
    blocks = list(getattr(getattr(tower, "transformer", None), "resblocks", []))
    if not blocks or any(not isinstance(getattr(block, "attn", None), nn.MultiheadAttention) for block in blocks):
        raise UsageError(
            f"the {name} tower ({type(tower).__name__}) has no attention that can be adapted; use a model with "
            "open_clip's own transformers, such as ViT-B-16, or adapt the other tower only."
        )
    return blocks


def timm_blocks(vit: Vit, *parts: str) -> list[Any]:
    """The blocks of a Vit whose attention has linear layers named `parts` ("qkv", "proj"), else UsageError."""
    blocks = list(getattr(vit.model, "blocks", []))
    if not blocks or not all(_is_exchangeable(block, parts) for block in blocks):
        raise UsageError(
            f"{vit.name} ({type(vit.model).__name__}) has no layers whose attention can be adapted; use a plain ViT, "
            "such as 'timm:vit_base_patch16_224', or a method that trains its weights."
        )
    return blocks


def _is_exchangeable(block: Any, parts: tuple[str, ...]) -> bool:
    """Whether a block has an MLP, and attention with the named linear layers."""
    attention = getattr(block, "attn", None)
    linear = all(isinstance(getattr(attention, part, None), nn.Linear) for part in parts)
    by_weight = "qkv" in parts and getattr(attention, "q_bias", None) is not None  # timm does not call the module then
    return linear and not by_weight and isinstance(getattr(block, "mlp", None), nn.Module)
