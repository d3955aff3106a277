"""Attention, computed from a library's own weights."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

WEIGHTS_AT_ONCE = 2**20  # attention weights computed together on a CPU; they should fit in its cache
# More keys than this are left to torch's kernel when gradients are recorded: it stores no weights for the backward
# pass. With 200 keys the weights are a fifth of what a layer stores, and their share grows with the number of keys.
MOST_KEYS = 512


def in_projection(attention: Any, x: Tensor) -> Tensor:
    """(..., D) -> queries, keys and values (..., 3D); a module's own `in_projection` takes precedence (adapters.py)."""
    if hasattr(attention, "in_projection"):
        return attention.in_projection(x)  # type: ignore[no-any-return]
    return F.linear(x, attention.in_proj_weight, attention.in_proj_bias)


def finish_block(block: Any, x: Tensor, attended: Tensor) -> Tensor:
    """The rest of open_clip's residual block after attention: output projection and MLP; both inputs (..., D)."""
    x = x + block.ls_1(block.attn.out_proj(attended))
    return x + block.ls_2(block.mlp(block.ln_2(x)))  # type: ignore[no-any-return]


def by_head(x: Tensor, heads: int) -> Tensor:
    """(B, N, H d) -> (B, H, N, d)."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias) v: (B, H, n, d) and two (B, H, N, d) -> (B, H, n, d); bias broadcasts.

    On a CPU as matrix products of a few images at once: torch's own kernel multiplies blocks that are too small for a
    CPU. At 197 tokens it takes twice as long, in bfloat16 three times.
    """
    too_many_keys = torch.is_grad_enabled() and k.shape[2] > MOST_KEYS
    if q.device.type != "cpu" or too_many_keys:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    images = max(1, WEIGHTS_AT_ONCE // (q.shape[1] * q.shape[2] * k.shape[2]))
    q = q / math.sqrt(q.shape[3])
    attended = []
    for some_q, some_k, some_v in zip(*(torch.split(each, images) for each in (q, k, v)), strict=True):
        scores = some_q @ some_k.mT
        attended.append((scores if bias is None else scores + bias).softmax(dim=-1) @ some_v)
    return torch.cat(attended)


def widen_mask(mask: Tensor, start: int, count: int) -> Tensor:
    """Insert `count` tokens at position `start` of a mask (..., N, N); they see all tokens, and all tokens see them.

    The mask is added to the scores, or true where a token is seen (PyTorch's convention). A side of length 1 broadcasts
    over all tokens and stays.
    """
    for side in (-2, -1):
        if count and mask.shape[side] > 1:
            before, after = mask.narrow(side, 0, start), mask.narrow(side, start, mask.shape[side] - start)
            shape = list(mask.shape)
            shape[side] = count
            mask = torch.cat([before, mask.new_full(shape, mask.dtype == torch.bool), after], dim=side)
    return mask
