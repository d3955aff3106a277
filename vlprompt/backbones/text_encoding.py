"""Two ways through a text tower: the shared prefix for causal ones, the library's own forward for all others.

A causal tower lets no token see what follows it, and only the end-of-text state is read. So nothing after end-of-text
matters, and the tokens that every text opens with have the same states in every text: they are run once per variant,
and what differs is run against their keys and values. The result is the full forward's, gradients included, up to
rounding.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vlprompt.backbones.packing import Packing, pack
from vlprompt.backbones.prompts import TextPrompt
from vlprompt.errors import UsageError


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

    Texts stand end to end in rows, see `packing`, and the tokens that all open with run once, in the same pass. Beyond
    twice `chunk_tokens` in all, rows run in chunks that keep only their input for the backward pass and are computed
    again there; all but the last, whose backward pass comes first.
    """

    def __init__(self, tower: nn.Module, chunk_tokens: int, lead: int = 1) -> None:
        self.tower: Any = tower
        self.chunk_tokens = chunk_tokens
        self.lead = lead  # tokens before the first that deep prompts overwrite

    def __call__(self, prompt: TextPrompt) -> Tensor:
        """(G, P, D) prefix and (C, S, D) suffixes -> (G, C, E) features, not normalised."""
        check_deep(prompt.deep, len(self.tower.transformer.resblocks))
        variants = prompt.prefix.shape[0]
        packings = self._packings(prompt)
        tokens = int((prompt.ends.expand(variants, -1) + 1).sum())
        recompute = tokens > 2 * self.chunk_tokens and torch.is_grad_enabled()
        known: Sequence[Tensor] = ()
        parts = []
        for packing in packings:
            inputs = (prompt, packing, known)
            again = recompute and packing is not packings[-1]
            features, seen = checkpoint(self._run, *inputs, use_reentrant=False) if again else self._run(*inputs)
            known = known or seen
            parts.append(features.reshape(variants, len(packing.texts), -1))
        order = torch.cat([packing.texts for packing in packings]).argsort()
        return at_least_float32(torch.cat(parts, dim=1)[:, order])

    def chunks(self, prompt: TextPrompt) -> list[Tensor]:
        """The texts that are run together, (c,) indices each, texts of like length together."""
        return [packing.texts for packing in self._packings(prompt)]

    def _packings(self, prompt: TextPrompt) -> tuple[Packing, ...]:
        variants, opening, _ = prompt.prefix.shape
        ends = tuple(map(tuple, prompt.ends.reshape(-1, prompt.ends.shape[-1]).tolist()))
        form = (variants, opening, prompt.suffix.shape[-2])
        dtype, device = self.tower.transformer.get_cast_dtype(), prompt.prefix.device
        return pack(ends, form, self.chunk_tokens // variants, dtype, device)

    def _run(self, prompt: TextPrompt, packing: Packing, known: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The texts of a packing -> (G * C, E) features, and each layer's keys and values of the prefix.

        `known` are these keys and values, (2, G, H, P, d) a layer, for all packings but the first, which has the prefix
        in it.
        """
        opening = prompt.prefix.shape[1]
        x = self._embedded(prompt, packing, opens=not known)
        found = []
        blocks = self.tower.transformer.resblocks
        for number, block in enumerate(blocks):
            if number in prompt.deep and not known:
                lead = overwrite(x[:, :opening], prompt.deep[number], self.lead)
                x = torch.cat([lead, x[:, opening:]], dim=1)
            queries, own = _heads(block, x, packing.mask.shape[0])
            ahead = known[number] if known else own[:, :, 0, :, :opening].clone()  # a view would keep all of it
            found.append(ahead)
            attended = _attend(queries, ahead, own, packing.mask)
            if number + 1 == len(blocks):  # one token a text is read: the others stop here
                x, attended = (states.flatten(0, 1).index_select(0, packing.ends) for states in (x, attended))
            x = _finish(block, x, attended)
        return _project(self.tower, self.tower.ln_final(x)), found

    def _embedded(self, prompt: TextPrompt, packing: Packing, *, opens: bool) -> Tensor:
        """(G, N * L, D), the packing's tokens with their position embeddings."""
        dtype = self.tower.transformer.get_cast_dtype()
        x = prompt.suffix.flatten(-3, -2).index_select(-2, packing.tokens).to(dtype)
        x = x.expand(prompt.prefix.shape[0], *x.shape[-2:])
        if opens:
            x = torch.cat([prompt.prefix.to(dtype), x], dim=1)
        places: Tensor = self.tower.positional_embedding.index_select(0, packing.positions)
        return x + places.to(dtype)


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


def _heads(block: Any, x: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """(G, N * L, D) -> queries (G, N, H, L, d), keys and values (2, G, N, H, L, d)."""
    attention = block.attn
    qkv = in_projection(attention, block.ln_1(x))
    shape = (len(x), rows, -1, 3, attention.num_heads, x.shape[2] // attention.num_heads)
    qkv = qkv.reshape(shape).permute(3, 0, 1, 4, 2, 5)
    return qkv[0], qkv[1:]


def in_projection(attention: Any, x: Tensor) -> Tensor:
    """(..., D) -> queries, keys and values (..., 3D), by the attention's own rule where it has one (`adapted.py`)."""
    if hasattr(attention, "in_projection"):
        return attention.in_projection(x)  # type: ignore[no-any-return]
    return F.linear(x, attention.in_proj_weight, attention.in_proj_bias)


def _finish(block: Any, x: Tensor, attended: Tensor) -> Tensor:
    """What a residual block does after attention; both (..., D)."""
    x = x + block.ls_1(block.attn.out_proj(attended))
    return x + block.ls_2(block.mlp(block.ln_2(x)))  # type: ignore[no-any-return]


def _attend(queries: Tensor, ahead: Tensor, own: Tensor, mask: Tensor) -> Tensor:
    """Attention of (G, N, H, L, d) queries -> (G, N * L, D).

    Written out: on processors torch's fused kernel is slower for so short rows.

    Args:
        queries: Of the rows' tokens.
        ahead: (2, G, H, P, d), keys and values of the prefix.
        own: (2, G, N, H, L, d), of the rows' tokens.
        mask: (N, 1, L, P + L), what is added to the scores.
    """
    rows = queries.shape[1]
    keys, values = torch.cat([ahead[:, :, None].expand(-1, -1, rows, -1, -1, -1), own], dim=-2)
    scores = (queries / math.sqrt(queries.shape[-1])) @ keys.mT + mask
    attended: Tensor = scores.softmax(dim=-1) @ values
    return attended.transpose(2, 3).flatten(3).flatten(1, 2)


def _project(tower: Any, x: Tensor) -> Tensor:
    """(B, D) read-out states -> (B, E)."""
    projection = tower.text_projection
    if projection is None:
        return x
    return projection(x) if isinstance(projection, nn.Module) else x @ projection  # type: ignore[no-any-return]
