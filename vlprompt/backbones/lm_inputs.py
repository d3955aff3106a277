"""Inputs of a language model: token ids, soft tokens among them, and the position where the answer is read."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.errors import UsageError


@dataclass(frozen=True)
class Row:
    """One tokenised text.

    Attributes:
        ids: T token ids; a soft token has the id of some word, so that lengths can be counted.
        read: The position whose state is the answer; an encoder-decoder ignores it.
        slots: The number of the soft token at each position, -1 for a word; empty: words only.
        segments: The segment of each position; empty: one segment.
    """

    ids: tuple[int, ...]
    read: int = 0
    slots: tuple[int, ...] = ()
    segments: tuple[int, ...] = ()


@dataclass(frozen=True)
class Sequences:
    """B tokenised texts, padded to the longest.

    Attributes:
        ids: (B, T) int64.
        mask: (B, T) int64, 1 for tokens, 0 for padding; padding may be on either side.
        read: (B,) int64, the position whose state is the answer.
        slots: (B, T) int64 numbers of soft tokens, -1 for words; None: words only.
        segments: (B, T) int64; None: one segment.
    """

    ids: Tensor
    mask: Tensor
    read: Tensor
    slots: Tensor | None = None
    segments: Tensor | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for padding between tokens, an empty row, or a read-out position that is padding.

        Texts are checked on the CPU, where they are built; a check on another device would wait for it.
        """
        if self.mask.device.type != "cpu":
            return
        changes = self.mask.diff(dim=1, prepend=self.mask.new_zeros(len(self.mask), 1)).eq(1).sum(1)
        if not bool((changes == 1).all()):
            row = int((changes != 1).nonzero()[0])
            raise UsageError(f"text {row} has padding between its tokens, or no token; pad on one side only.")
        if not bool(self.mask.gather(1, self.read[:, None]).all()):
            row = int((self.mask.gather(1, self.read[:, None])[:, 0] == 0).nonzero()[0])
            raise UsageError(f"the read-out position {int(self.read[row])} of text {row} is padding.")

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, rows: Sequence[Row], pad: int = 0, device: torch.device | str = "cpu") -> "Sequences":
        """Pad rows to the longest, on the right.

        Args:
            rows: B texts, at least one.
            pad: The id of padding; its value has no effect.
            device: Where to put them.
        """
        longest = max(len(row.ids) for row in rows)

        def padded(values: Sequence[Sequence[int]], filler: int) -> Tensor:
            return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in values])

        soft, paired = any(row.slots for row in rows), any(row.segments for row in rows)
        return cls(
            padded([row.ids for row in rows], pad),
            padded([[1] * len(row.ids) for row in rows], 0),
            torch.tensor([row.read for row in rows]),
            padded([row.slots or [-1] * len(row.ids) for row in rows], -1) if soft else None,
            padded([row.segments or [0] * len(row.ids) for row in rows], 0) if paired else None,
        ).to(device)

    def to(self, device: torch.device | str) -> "Sequences":
        """The same texts on a device."""
        return self._map(lambda values: values.to(device), self.read.to(device))

    def take(self, rows: Tensor) -> "Sequences":
        """Some of the texts, (n,) indices, without columns that only contain padding."""
        used = self.mask[rows].any(0).nonzero()[:, 0]
        first, last = int(used[0]), int(used[-1]) + 1
        return self._map(lambda values: values[rows, first:last], self.read[rows] - first)

    def _map(self, change: Callable[[Tensor], Tensor], read: Tensor) -> "Sequences":
        """Texts with each (B, T) tensor changed."""
        slots, segments = (None if values is None else change(values) for values in (self.slots, self.segments))
        return Sequences(change(self.ids), change(self.mask), read, slots, segments)

    def continued(self, pieces: Sequence[int]) -> "Sequences":
        """The same texts with (n,) token ids after the read-out position; UsageError if a text has tokens there."""
        count = len(pieces)
        if not count:
            return self
        after = F.pad(self.mask, (0, 1)).gather(1, self.read[:, None] + 1)
        if bool(after.any()):
            row = int(after[:, 0].nonzero()[0])
            raise UsageError(f"text {row} continues after position {int(self.read[row])}; an answer cannot follow it.")
        places = self.read[:, None] + 1 + torch.arange(count, device=self.ids.device)  # (B, n)
        new_ids = torch.tensor(pieces, device=self.ids.device).expand(len(self), -1)

        def longer(values: Tensor, new: Tensor) -> Tensor:
            return F.pad(values, (0, count)).scatter(1, places, new)

        slots = None if self.slots is None else longer(self.slots, torch.full_like(new_ids, -1))
        segments = None if self.segments is None else longer(self.segments, torch.zeros_like(new_ids))
        return Sequences(
            longer(self.ids, new_ids), longer(self.mask, torch.ones_like(new_ids)), self.read, slots, segments
        )

    def by_length(self, tokens: int) -> Iterator[Tensor]:
        """Yield (n,) indices of texts of similar length, at most `tokens` padded tokens at once; each text once."""
        lengths = self.mask.sum(1)
        some: list[int] = []
        for position in lengths.argsort(stable=True).tolist():
            if some and (len(some) + 1) * int(lengths[position]) > tokens:
                yield torch.tensor(some, device=self.ids.device)
                some = []
            some.append(position)
        yield torch.tensor(some, device=self.ids.device)


@dataclass(frozen=True)
class SoftPrompt:
    """Learned inputs of a frozen language model.

    Attributes:
        tokens: (P, D) embeddings of soft tokens, at the positions given by `Sequences.slots`.
        prefix: (L, 2, H, P, d) keys and values that precede the text's own in every layer's attention; the text's
            positions continue after them. For an encoder-decoder, the encoder's.
        decoder: (L', 2, H, P, d), the same for a decoder's self-attention.
    """

    tokens: Tensor | None = None
    prefix: Tensor | None = None
    decoder: Tensor | None = None

    @classmethod
    def of_prefix(cls, prefix: Tensor, layers: int) -> "SoftPrompt":
        """A prefix whose first `layers` are for the model or its encoder, and the others for its decoder."""
        return cls(prefix=prefix[:layers], decoder=prefix[layers:] if len(prefix) > layers else None)

    @property
    def length(self) -> int:
        """Number of positions that the prefix occupies."""
        return 0 if self.prefix is None else self.prefix.shape[3]


NO_SOFT_PROMPT = SoftPrompt()
