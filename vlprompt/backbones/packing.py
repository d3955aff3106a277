"""Sequence packing: texts of different lengths placed one after another in rows of one length, with little padding."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

ROW = 64  # tokens; longer rows have less padding, shorter ones compute fewer masked scores
EMPTY, PREFIX = -1, -2  # owner codes of slots that belong to no text: padding, and the common prefix
Ends = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Packing:
    """C texts in N rows of L tokens; the first packing also holds the P tokens of the common prefix, at its start.

    Attributes:
        texts: (C,) int64 indices of the texts, on the CPU.
        tokens: (N * L,) int64, in the first packing without the P of the prefix: each slot's index into the
            (texts * S) tokens of all suffixes. Padding has any index; no text sees it.
        positions: (N * L,) int64, each token's position in its text.
        mask: (N, 1, L, P + L), 0 where a token sees one of the prefix or of its row, else -inf.
        ends: (G * C,) int64, where each text of each variant ends in (G * N * L) tokens.
    """

    texts: Tensor
    tokens: Tensor
    positions: Tensor
    mask: Tensor
    ends: Tensor


@lru_cache(maxsize=8)  # every step of a training run needs the same packings
def pack(
    ends: Ends, sizes: tuple[int, int, int], budget: int, dtype: torch.dtype, device: torch.device
) -> tuple[Packing, ...]:
    """Pack texts into rows, short ones first.

    Args:
        ends: (G, C), or (1, C) if all variants end alike: the index of each text's last token in its suffix.
        sizes: (G, P, S), the number of variants, of tokens of the common prefix, and of tokens of a padded suffix.
        budget: Tokens of one variant in a packing; a packing has at least one row.
        dtype: Of the mask.
        device: Of all tensors but `texts`.

    Returns:
        Packings that contain each text once.
    """
    variants, prefix, width = sizes
    last = torch.tensor(ends)
    lengths, order = (last.amax(dim=0) + 1).sort(stable=True)  # room for the longest of a text's variants
    length, row_starts = _layout(lengths.tolist(), prefix, budget)
    starts, rows = torch.tensor(row_starts), row_starts[-1] // length + 1
    within = torch.arange(int(lengths.sum())) - (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
    slots = starts.repeat_interleave(lengths) + within

    tokens, positions = torch.zeros(rows * length).long(), torch.zeros(rows * length).long()
    owner = torch.full((rows * length,), EMPTY)
    tokens[slots] = (order * width).repeat_interleave(lengths) + within
    positions[:prefix], positions[slots] = torch.arange(prefix), prefix + within
    owner[:prefix], owner[slots] = PREFIX, order.repeat_interleave(lengths)
    mask = _mask(owner.reshape(rows, length), prefix, dtype)

    most = max(1, budget // length)
    rows_each = math.ceil(rows / math.ceil(rows / most))  # as few packings as possible, of similar size
    packings = []
    for number, its_rows in enumerate(torch.split(mask, rows_each)):
        first, size = number * rows_each * length, len(its_rows) * length
        here = (starts >= first) & (starts < first + size)
        texts, skip = order[here], 0 if number else prefix
        places = starts[here] - first + last[:, texts] + size * torch.arange(variants)[:, None]
        parts = (tokens[first + skip : first + size], positions[first : first + size], its_rows, places.flatten())
        packings.append(Packing(texts, *(part.to(device) for part in parts)))
    return tuple(packings)


def _layout(lengths: list[int], prefix: int, budget: int) -> tuple[int, list[int]]:
    """The row length and each text's start: the shortest rows that are no more than rows of `ROW` tokens would be."""
    least = max(prefix + lengths[0], lengths[-1])  # every row contains a text
    full = max(least, min(ROW, budget))
    starts = _starts(lengths, prefix, full)
    rows = starts[-1] // full + 1
    for length in range(max(least, math.ceil((prefix + sum(lengths)) / rows)), full):
        shorter = _starts(lengths, prefix, length)
        if shorter[-1] // length < rows:
            return length, shorter
    return full, starts


def _starts(lengths: list[int], at: int, row: int) -> list[int]:
    """Where each text starts, from slot `at` on; a text that would cross the end of a row starts the next one."""
    starts = []
    for length in lengths:
        left = row - at % row
        if left < length:
            at += left
        starts.append(at)
        at += length
    return starts


def _mask(owner: Tensor, prefix: int, dtype: torch.dtype) -> Tensor:
    """(N, L) owners of the slots -> (N, 1, L, P + L)."""
    earlier = torch.ones(owner.shape[1], owner.shape[1], dtype=torch.bool).tril()
    own = (owner[:, :, None] == owner[:, None]) & earlier
    ahead = (owner != PREFIX)[..., None].expand(-1, -1, prefix)  # the prefix sees itself in its row
    hidden = ~torch.cat([ahead, own], dim=-1)
    return torch.zeros(hidden.shape, dtype=dtype).masked_fill(hidden, -math.inf)[:, None]
