"""Text encoding for causal towers that computes the tokens shared by all texts once.

In a causal tower no token sees the tokens after it, and only the end-of-text state is read. So nothing after
end-of-text matters, and the tokens that all texts start with have the same states in every text: they run once per
variant, and the rest of each text attends to their keys and values. The result equals the full forward up to rounding,
gradients included.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vlprompt.backbones.attention import finish_block, in_projection
from vlprompt.backbones.outputs import at_least_float32
from vlprompt.backbones.packing import Packing, pack
from vlprompt.backbones.prompt_types import TextPrompt
from vlprompt.errors import UsageError


def why_not_causal(tower: nn.Module) -> str:
    """The reason why `SharedPrefixEncoder` does not support an open_clip text tower; empty if it does."""
    transformer: Any = getattr(tower, "transformer", None)
    blocks = getattr(transformer, "resblocks", None)
    mask = getattr(tower, "attn_mask", None)
    pool = str(getattr(tower, "text_pool_type", getattr(tower, "pool_type", "")))
    if blocks is None:
        return "it is not open_clip's own transformer"
    if any(not isinstance(getattr(block, "attn", None), nn.MultiheadAttention) for block in blocks):
        return "its blocks have their own kind of attention"
    if getattr(tower, "cls_emb", None) is not None:
        return "a class embedding at the end reads the whole text"
    if mask is None or not torch.equal(mask, torch.full_like(mask, -math.inf).triu(1)):
        return "its attention is not causal"
    return "" if pool in ("argmax", "eos") else f"its text is read out by {pool!r}, not at end-of-text"


class SharedPrefixEncoder:
    """Exact encoding through a causal tower of open_clip, with its own modules.

    Texts are packed into rows (`packing.py`), and their common prefix runs once, in the same pass. With more than twice
    `chunk_tokens` tokens in total, rows run in chunks that store only their input and are computed again in the
    backward pass; all but the last chunk, whose backward pass is first.
    """

    def __init__(self, tower: nn.Module, chunk_tokens: int, lead: int = 1) -> None:
        self.tower: Any = tower
        self.chunk_tokens = chunk_tokens
        self.lead = lead  # number of tokens before the first that deep prompts replace

    def __call__(self, prompt: TextPrompt) -> Tensor:
        """(G, P, D) prefix and (C, S, D) suffixes -> (G, C, E) features, not normalised."""
        check_deep(prompt.deep, len(self.tower.transformer.resblocks))
        variants = prompt.prefix.shape[0]
        packings = self._packings(prompt)
        tokens = int((prompt.ends.expand(variants, -1) + 1).sum())
        recompute = tokens > 2 * self.chunk_tokens and torch.is_grad_enabled()
        ahead: Sequence[Tensor] = ()
        parts = []
        for packing in packings:
            inputs = (prompt, packing, ahead)
            again = recompute and packing is not packings[-1]
            features, computed = checkpoint(self._run, *inputs, use_reentrant=False) if again else self._run(*inputs)
            ahead = ahead or computed
            parts.append(features.reshape(variants, len(packing.texts), -1))
        order = torch.cat([packing.texts for packing in packings]).argsort()
        return at_least_float32(torch.cat(parts, dim=1)[:, order])

    def chunks(self, prompt: TextPrompt) -> list[Tensor]:
        """The texts that run together, (c,) indices each, on the CPU; a single chunk stores all its activations."""
        return [packing.texts for packing in self._packings(prompt)]

    def _packings(self, prompt: TextPrompt) -> tuple[Packing, ...]:
        variants, prefix, _ = prompt.prefix.shape
        ends = tuple(map(tuple, prompt.ends.reshape(-1, prompt.ends.shape[-1]).tolist()))
        sizes = (variants, prefix, prompt.suffix.shape[-2])
        dtype, device = self.tower.transformer.get_cast_dtype(), prompt.prefix.device
        return pack(ends, sizes, self.chunk_tokens // variants, dtype, device)

    def _run(self, prompt: TextPrompt, packing: Packing, ahead: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The texts of a packing -> (G * C, E) features, and each layer's keys and values of the prefix.

        `ahead` are these keys and values, (2, G, H, P, d) per layer; empty for the first packing, which contains the
        prefix itself.
        """
        length = prompt.prefix.shape[1]
        x = self._embedded(prompt, packing, with_prefix=not ahead)
        prefix_heads = []
        blocks = self.tower.transformer.resblocks
        for number, block in enumerate(blocks):
            if number in prompt.deep and not ahead:
                start = overwrite(x[:, :length], prompt.deep[number], self.lead)
                x = torch.cat([start, x[:, length:]], dim=1)
            queries, own = _heads(block, x, packing.mask.shape[0])
            prefix = ahead[number] if ahead else own[:, :, 0, :, :length].clone()  # a view would store all of it
            prefix_heads.append(prefix)
            attended = _attend(queries, prefix, own, packing.mask)
            if number + 1 == len(blocks):  # only one token of each text is read
                x, attended = (states.flatten(0, 1).index_select(0, packing.ends) for states in (x, attended))
            x = finish_block(block, x, attended)
        return _project(self.tower, self.tower.ln_final(x)), prefix_heads

    def _embedded(self, prompt: TextPrompt, packing: Packing, *, with_prefix: bool) -> Tensor:
        """(G, N * L, D), the packing's tokens with their position embeddings."""
        dtype = self.tower.transformer.get_cast_dtype()
        x = prompt.suffix.flatten(-3, -2).index_select(-2, packing.tokens).to(dtype)
        x = x.expand(prompt.prefix.shape[0], *x.shape[-2:])
        if with_prefix:
            x = torch.cat([prompt.prefix.to(dtype), x], dim=1)
        positions: Tensor = self.tower.positional_embedding.index_select(0, packing.positions)
        return x + positions.to(dtype)


def check_deep(deep: Mapping[int, Tensor], layers: int) -> None:
    """Raise UsageError if deep prompts name a layer that the text tower does not have."""
    if missing := sorted(set(deep) - set(range(layers))):
        raise UsageError(f"deep prompts for layers {missing}, but the text tower has layers 0 to {layers - 1}.")


def overwrite(x: Tensor, tokens: Tensor, lead: int) -> Tensor:
    """Write (n, D) or (G, n, D) tokens to positions lead..lead+n-1 of (G, L, D) states; UsageError if L is smaller."""
    end = lead + tokens.shape[-2]
    if end > x.shape[1]:
        raise UsageError(
            f"{tokens.shape[-2]} deep prompts need {end} tokens that all texts start with, there are {x.shape[1]}; "
            "let all texts start with at least as many learned tokens."
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


def _attend(queries: Tensor, prefix: Tensor, own: Tensor, mask: Tensor) -> Tensor:
    """(G, N, H, L, d) queries -> (G, N * L, D); on CPUs torch's own kernel is slower for such short rows.

    Keys and values are (2, G, H, P, d) of the prefix and (2, G, N, H, L, d) of the rows' own tokens; the mask (N, 1, L,
    P + L) is added to the scores.
    """
    rows = queries.shape[1]
    keys, values = torch.cat([prefix[:, :, None].expand(-1, -1, rows, -1, -1, -1), own], dim=-2)
    scores = (queries / math.sqrt(queries.shape[-1])) @ keys.mT + mask
    attended: Tensor = scores.softmax(dim=-1) @ values
    return attended.transpose(2, 3).flatten(3).flatten(1, 2)


def _project(tower: Any, x: Tensor) -> Tensor:
    """(B, D) states at end-of-text -> (B, E)."""
    projection = tower.text_projection
    if projection is None:
        return x
    return projection(x) if isinstance(projection, nn.Module) else x @ projection  # type: ignore[no-any-return]
