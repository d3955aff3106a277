"""Texts of different lengths laid end to end in rows of one length, so that none is padded to the longest."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

ROW = 64  # tokens; longer rows leave less of themselves empty, shorter ones spend less on what must not be seen
NOTHING, OPENING = -1, -2  # whose tokens they are, where they are no text's
Ends = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Packing:
    """C texts in N rows of L tokens; in the first packing the P tokens that all texts open with stand ahead of them.

    Attributes:
        texts: (C,) int64, which texts these are, on the CPU.
        tokens: (N * L,) int64, in the first packing without the P that stand ahead: which of the (texts * S) tokens of
            all suffixes it is. Where a row is left empty it is one that no text sees.
        positions: (N * L,) int64, each token's place in its text.
        mask: (N, 1, L, P + L), 0 where a token sees one of the opening or of its row, else -inf.
        ends: (G * C,) int64, where each text of each variant ends in (G * N * L) tokens.
    """

    texts: Tensor
    tokens: Tensor
    positions: Tensor
    mask: Tensor
    ends: Tensor


@lru_cache(maxsize=8)  # all steps of a training ask for the same
def pack(
    ends: Ends, form: tuple[int, int, int], budget: int, dtype: torch.dtype, device: torch.device
) -> tuple[Packing, ...]:
    """Lay texts out in rows, the shorter ones first.

    Args:
        ends: (G, C) or (1, C), the place of each text's last token in its suffix, by variant or the same for all.
        form: (G, P, S), the number of variants, of tokens that all texts open with, and of those in a padded suffix.
        budget: Tokens of a variant in a packing; one row is the least.
        dtype: Of the mask.
        device: Of all but `texts`.

    Returns:
        Packings that hold each text once.
    """
    variants, opening, width = form
    last = torch.tensor(ends)
    took, order = (last.amax(dim=0) + 1).sort(stable=True)  # room for the longest of a text's variants
    length, laid = _layout(took.tolist(), opening, budget)
    starts, rows = torch.tensor(laid), laid[-1] // length + 1
    within = torch.arange(int(took.sum())) - (took.cumsum(0) - took).repeat_interleave(took)  # of its text
    spots = starts.repeat_interleave(took) + within

    tokens, positions = torch.zeros(rows * length).long(), torch.zeros(rows * length).long()
    owner = torch.full((rows * length,), NOTHING)
    tokens[spots] = (order * width).repeat_interleave(took) + within
    positions[:opening], positions[spots] = torch.arange(opening), opening + within
    owner[:opening], owner[spots] = OPENING, order.repeat_interleave(took)
    mask = _mask(owner.reshape(rows, length), opening, dtype)

    most = max(1, budget // length)
    at_once = math.ceil(rows / math.ceil(rows / most))  # no more packings than that takes, of like size
    packings = []
    for number, its_rows in enumerate(torch.split(mask, at_once)):
        first, size = number * at_once * length, len(its_rows) * length
        here = (starts >= first) & (starts < first + size)
        texts, ahead = order[here], 0 if number else opening
        places = starts[here] - first + last[:, texts] + size * torch.arange(variants)[:, None]
        parts = (tokens[first + ahead : first + size], positions[first : first + size], its_rows, places.flatten())
        packings.append(Packing(texts, *(part.to(device) for part in parts)))
    return tuple(packings)


def _layout(lengths: list[int], opening: int, budget: int) -> tuple[int, list[int]]:
    """How long a row is and where each text starts: the shortest rows that are as few as rows of `ROW` would be."""
    least = max(opening + lengths[0], lengths[-1])  # no row is without a text
    full = max(least, min(ROW, budget))
    starts = _starts(lengths, opening, full)
    rows = starts[-1] // full + 1
    for length in range(max(least, math.ceil((opening + sum(lengths)) / rows)), full):
        shorter = _starts(lengths, opening, length)
        if shorter[-1] // length < rows:
            return length, shorter
    return full, starts


def _starts(lengths: list[int], at: int, row: int) -> list[int]:
    """Where each text starts from `at` on; one that would cross the end of a row begins the next."""
    starts = []
    for length in lengths:
        left = row - at % row
        if left < length:
            at += left
        starts.append(at)
        at += length
    return starts


def _mask(owner: Tensor, opening: int, dtype: torch.dtype) -> Tensor:
    """(N, L), whose each token is -> (N, 1, L, P + L)."""
    earlier = torch.ones(owner.shape[1], owner.shape[1], dtype=torch.bool).tril()
    own = (owner[:, :, None] == owner[:, None]) & earlier
    ahead = (owner != OPENING)[..., None].expand(-1, -1, opening)  # the opening sees itself in its row
    hidden = ~torch.cat([ahead, own], dim=-1)
    return torch.zeros(hidden.shape, dtype=dtype).masked_fill(hidden, -math.inf)[:, None]
