"""Two ways through a text tower: the shared prefix for causal ones, the library's own forward for all others.

A causal tower lets no token see what follows it, and only the end-of-text state is read. So nothing after end-of-text
matters, and the tokens that every text opens with have the same states in every text: they are run once per variant,
their keys and values are kept by layer, and only what differs is run against them. The result is the full forward's,
gradients included, up to rounding.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vlprompt.backbones.prompts import TextPrompt
from vlprompt.errors import UsageError

KeysValues = tuple[Tensor, Tensor]  # each (G, H, P, d)
ENOUGH_TOKENS = 128  # in a chunk; beyond, a processor's matrix units gain less than padding costs (2 cores, ViT-B/16)


class TextEncoder(Protocol):
    """A way from a prompt to the tower's features."""

    def __call__(self, prompt: TextPrompt) -> Tensor:
        """(G, P, D) prefix and (C, S, D) suffixes -> (G, C, E) features, not normalised."""

    def chunks(self, prompt: TextPrompt) -> list[Tensor]:
        """The texts that are run together, (c,) indices each, on the CPU; one chunk alone keeps its activations."""


def why_not_causal(tower: nn.Module) -> str:
    """The reason the shared prefix does not apply to an open_clip text tower; empty where it does."""
    transformer: Any = getattr(tower, "transformer", None)
    blocks = getattr(transformer, "resblocks", None)
    mask = getattr(tower, "attn_mask", None)
    if blocks is None:
        return "it is not open_clip's own transformer"
    if any(not isinstance(getattr(block, "attn", None), nn.MultiheadAttention) for block in blocks):
        return "its blocks have their own kind of attention"
    if getattr(tower, "cls_emb", None) is not None:
        return "a class embedding at the end reads the whole text"
    if mask is None or not torch.equal(mask, torch.full_like(mask, -math.inf).triu(1)):
        return "its attention is not causal"
    if _pool_type(tower) not in ("argmax", "eos"):
        return f"its text is read out by {_pool_type(tower)!r}, not at end-of-text"
    return ""


def _pool_type(tower: nn.Module) -> str:
    return str(getattr(tower, "text_pool_type", getattr(tower, "pool_type", "")))


class SharedPrefix:
    """Exact encoding through a causal tower of open_clip (its own modules, none copied).

    Texts are run in chunks sorted by length, so that short ones are not padded to the longest. Beyond twice
    `chunk_tokens` in all, a chunk keeps only its input for the backward pass and is computed again there.
    """

    def __init__(self, tower: nn.Module, chunk_tokens: int, lead: int = 1) -> None:
        self.tower: Any = tower
        self.chunk_tokens = chunk_tokens
        self.lead = lead  # tokens before the first that deep prompts overwrite

    def __call__(self, prompt: TextPrompt) -> Tensor:
        """(G, P, D) prefix and (C, S, D) suffixes -> (G, C, E) features, not normalised."""
        dtype = self.tower.transformer.get_cast_dtype()
        known = self._prefix(prompt.prefix.to(dtype), prompt.deep)
        variants = prompt.prefix.shape[0]
        suffix = prompt.suffix if prompt.suffix.ndim == 4 else prompt.suffix.expand(variants, *prompt.suffix.shape)
        every_end = prompt.ends.expand(variants, -1)  # (G, C)
        chunks = self.chunks(prompt)
        tokens = int((every_end + 1).sum())
        recompute = tokens > 2 * self.chunk_tokens and torch.is_grad_enabled()
        parts = []
        for chosen in chunks:
            ends = every_end[:, chosen]
            rows = suffix[:, chosen, : int(ends.max()) + 1].to(dtype)
            flat = [part for pair in known for part in pair]
            inputs = (rows, ends, *flat)
            parts.append(checkpoint(self._suffix, *inputs, use_reentrant=False) if recompute else self._suffix(*inputs))
        order = torch.cat(chunks).argsort()
        return at_least_float32(torch.cat(parts, dim=1)[:, order])

    def chunks(self, prompt: TextPrompt) -> list[Tensor]:
        """The texts that are run together, (c,) indices each, texts of like length together."""
        variants = prompt.prefix.shape[0]
        longest = prompt.ends.expand(variants, -1).amax(dim=0)  # (C,)
        return _chunks(longest, self.chunk_tokens // variants, ENOUGH_TOKENS // variants)

    def _prefix(self, x: Tensor, deep: Mapping[int, Tensor]) -> list[KeysValues]:
        """(G, P, D) embeddings -> the keys and values of every layer, each (G, H, P, d)."""
        blocks = self.tower.transformer.resblocks
        check_deep(deep, len(blocks))
        x = x + self.tower.positional_embedding[: x.shape[1]].to(x.dtype)
        known = []
        for number, block in enumerate(blocks):
            if number in deep:
                x = overwrite(x, deep[number], self.lead)
            q, k, v = _heads(block, x)
            known.append((k, v))
            if number + 1 < len(blocks):  # the last layer's output is never looked at
                x = _finish(block, x, _join(F.scaled_dot_product_attention(q, k, v, is_causal=True)))
        return known

    def _suffix(self, x: Tensor, ends: Tensor, *known: Tensor) -> Tensor:
        """(G, C, S, D) embeddings that follow `known` keys and values -> (G, C, E), read at ends (G, C)."""
        variants, texts, length, width = x.shape
        start = known[0].shape[2]
        x = x + self.tower.positional_embedding[start : start + length].to(x.dtype)
        x = x.reshape(variants * texts, length, width)
        blocks = self.tower.transformer.resblocks
        causal = torch.full((length, length), -math.inf, dtype=x.dtype, device=x.device).triu(1)
        read = ends.flatten().to(x.device)
        rows = torch.arange(len(read), device=x.device)
        for number, block in enumerate(blocks):
            q, k, v = _heads(block, x)
            if number + 1 == len(blocks):  # one token a text is read: the others stop here
                q, x, causal = q[rows, :, read, None], x[rows, read, None], causal[read]
                causal = causal[:, None, None, :]
            attended = _attend(q, k, v, known[2 * number], known[2 * number + 1], causal)
            x = _finish(block, x, _join(attended))
        return _project(self.tower, self.tower.ln_final(x[:, 0])).reshape(variants, texts, -1)


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision to float32; float64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def check_deep(deep: Mapping[int, Tensor], layers: int) -> None:
    """Raise UsageError where deep prompts name a layer that the text tower does not have."""
    if missing := sorted(set(deep) - set(range(layers))):
        raise UsageError(f"deep prompts for layers {missing}, but the text tower has layers 0 to {layers - 1}.")


def overwrite(x: Tensor, tokens: Tensor, lead: int) -> Tensor:
    """Put (n, D) or (G, n, D) tokens at positions lead..lead+n-1 of (G, L, D) states.

    Raises:
        UsageError: There are fewer than lead + n states.
    """
    end = lead + tokens.shape[-2]
    if end > x.shape[1]:
        raise UsageError(
            f"{tokens.shape[-2]} deep prompts need {end} tokens that all texts open with, there are {x.shape[1]}; "
            "use a shared context of at least as many tokens in front of the names."
        )
    tokens = tokens.to(x.dtype).expand(x.shape[0], *tokens.shape[-2:])
    return torch.cat([x[:, :lead], tokens, x[:, end:]], dim=1)


def _heads(block: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, L, D) -> queries, keys and values, each (B, H, L, d)."""
    attention = block.attn
    qkv = in_projection(attention, block.ln_1(x))
    shape = (*x.shape[:2], 3, attention.num_heads, x.shape[2] // attention.num_heads)
    q, k, v = qkv.reshape(shape).permute(2, 0, 3, 1, 4)
    return q, k, v


def in_projection(attention: Any, x: Tensor) -> Tensor:
    """(..., D) -> queries, keys and values (..., 3D), by the attention's own rule where it has one (`adapted.py`)."""
    if hasattr(attention, "in_projection"):
        return attention.in_projection(x)  # type: ignore[no-any-return]
    return F.linear(x, attention.in_proj_weight, attention.in_proj_bias)


def _join(heads: Tensor) -> Tensor:
    """(B, H, L, d) -> (B, L, D)."""
    return heads.transpose(1, 2).flatten(2)


def _finish(block: Any, x: Tensor, attended: Tensor) -> Tensor:
    """What a residual block does after attention; both (B, L, D)."""
    x = x + block.ls_1(block.attn.out_proj(attended))
    return x + block.ls_2(block.mlp(block.ln_2(x)))  # type: ignore[no-any-return]


def _attend(q: Tensor, k: Tensor, v: Tensor, known_k: Tensor, known_v: Tensor, causal: Tensor) -> Tensor:
    """Attention of (G*C, H, S, d) queries to the (G, H, P, d) prefix and to their own text.

    The prefix is multiplied once per head for all texts together instead of being repeated for each.
    """
    variants, heads, start, depth = known_k.shape
    texts, length = q.shape[0] // variants, q.shape[2]
    every = (variants, heads, texts * length)
    grouped = q.reshape(variants, texts, heads, length, depth).transpose(1, 2).reshape(*every, depth)
    to_prefix = (grouped @ known_k.mT).reshape(variants, heads, texts, length, start).transpose(1, 2)
    to_own = q @ k.mT + causal * math.sqrt(depth)
    scores = torch.cat([to_prefix.reshape(*q.shape[:3], start), to_own], dim=-1) / math.sqrt(depth)
    weights = scores.softmax(dim=-1)
    on_prefix, on_own = weights[..., :start], weights[..., start:]
    on_prefix = on_prefix.reshape(variants, texts, heads, length, start).transpose(1, 2)
    from_prefix = on_prefix.reshape(*every, start) @ known_v
    from_prefix = from_prefix.reshape(variants, heads, texts, length, depth).transpose(1, 2)
    attended: Tensor = on_own @ v + from_prefix.reshape(q.shape)
    return attended


def _project(tower: Any, x: Tensor) -> Tensor:
    """(B, D) read-out states -> (B, E)."""
    projection = tower.text_projection
    if projection is None:
        return x
    return projection(x) if isinstance(projection, nn.Module) else x @ projection  # type: ignore[no-any-return]


def _chunks(ends: Tensor, budget: int, enough: int) -> list[Tensor]:
    """Texts in chunks of at most `budget` padded tokens, texts of like length together; (c,) indices each.

    A chunk that has `enough` tokens takes no longer texts in, which would pad all of it.
    """
    lengths, order = (ends + 1).sort(stable=True)
    chunks: list[Tensor] = []
    first = longest = 0
    for last, length in enumerate(lengths.tolist()):
        grows = length > longest and (last - first) * longest >= enough
        if last > first and (grows or (last + 1 - first) * length > budget):
            chunks.append(order[first:last])
            first = last
        longest = length
    return [*chunks, order[first:]]
