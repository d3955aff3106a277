"""What a language model is given: token ids, soft tokens among them, and where the answer is read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.errors import UsageError


@dataclass(frozen=True)
class Row:
    """One tokenised text.

    Attributes:
        ids: T token ids; a real id stands in soft places too, so that lengths can be counted.
        read: The place whose state is the answer; of an encoder-decoder nothing is read here.
        slots: The number of the soft token at each place, -1 for a word; empty: words only.
        segments: The segment of each place; empty: one segment.
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
        mask: (B, T) int64, 1 where there is a token; padding may stand on either side.
        read: (B,) int64, the place whose state is the answer.
        slots: (B, T) int64 numbers of soft tokens, -1 for words; None: words only.
        segments: (B, T) int64; None: one segment.
    """

    ids: Tensor
    mask: Tensor
    read: Tensor
    slots: Tensor | None = None
    segments: Tensor | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for padding between tokens, an empty row, or a place to read that holds no token.

        Texts are checked on the CPU, where they are made; on another device a look at them would wait for it.
        """
        if self.mask.device.type != "cpu":
            return
        changes = self.mask.diff(dim=1, prepend=self.mask.new_zeros(len(self.mask), 1)).eq(1).sum(1)
        if not bool((changes == 1).all()):
            row = int((changes != 1).nonzero()[0])
            raise UsageError(f"text {row} has padding between its tokens, or no token; pad on one side only.")
        if not bool(self.mask.gather(1, self.read[:, None]).all()):
            row = int((self.mask.gather(1, self.read[:, None])[:, 0] == 0).nonzero()[0])
            raise UsageError(f"text {row} is to be read at place {int(self.read[row])}, which is padding.")

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, rows: Sequence[Row], pad: int = 0, device: torch.device | str = "cpu") -> "Sequences":
        """Pad rows to the longest, on the right.

        Args:
            rows: B texts, one or more.
            pad: The id that stands in the padding; what it is does not matter.
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

        def moved(values: Tensor | None) -> Tensor | None:
            return None if values is None else values.to(device)

        ids, mask, read = self.ids.to(device), self.mask.to(device), self.read.to(device)
        return Sequences(ids, mask, read, moved(self.slots), moved(self.segments))

    def take(self, rows: Tensor) -> "Sequences":
        """Some of the texts, (n,) positions, without columns that would be padding throughout."""
        used = self.mask[rows].any(0).nonzero()[:, 0]
        first, last = int(used[0]), int(used[-1]) + 1

        def cut(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[rows, first:last]

        ids, mask = self.ids[rows, first:last], self.mask[rows, first:last]
        return Sequences(ids, mask, self.read[rows] - first, cut(self.slots), cut(self.segments))

    def reading(self, places: Tensor) -> "Sequences":
        """The same texts, read elsewhere: (B,) places."""
        return replace(self, read=places)

    def continued(self, pieces: Sequence[int]) -> "Sequences":
        """The same texts with (n,) ids behind the place that is read.

        Raises:
            UsageError: A text has tokens there already.
        """
        count = len(pieces)
        if not count:
            return self
        behind = F.pad(self.mask, (0, 1)).gather(1, self.read[:, None] + 1)
        if bool(behind.any()):
            row = int(behind[:, 0].nonzero()[0])
            raise UsageError(f"text {row} goes on behind place {int(self.read[row])}, so no answer can stand there.")
        places = self.read[:, None] + 1 + torch.arange(count, device=self.ids.device)  # (B, n)
        known = torch.tensor(pieces, device=self.ids.device).expand(len(self), -1)

        def longer(values: Tensor, new: Tensor) -> Tensor:
            return F.pad(values, (0, count)).scatter(1, places, new)

        slots = None if self.slots is None else longer(self.slots, torch.full_like(known, -1))
        segments = None if self.segments is None else longer(self.segments, torch.zeros_like(known))
        return replace(
            self, ids=longer(self.ids, known), mask=longer(self.mask, torch.ones_like(known)), slots=slots,
            segments=segments,
        )  # fmt: skip

    def by_length(self, tokens: int) -> Iterator[Tensor]:
        """Positions of texts of nearly equal length, at most so many padded tokens at once: (n,) each, all in all."""
        lengths = self.mask.sum(1)
        some: list[int] = []
        for position in lengths.argsort(stable=True).tolist():
            if some and (len(some) + 1) * int(lengths[position]) > tokens:
                yield torch.tensor(some, device=self.ids.device)
                some = []
            some.append(position)
        yield torch.tensor(some, device=self.ids.device)


@dataclass(frozen=True)
class Steering:
    """What is learned for a frozen language model.

    Attributes:
        tokens: (P, D) embeddings of soft tokens, put where `Sequences.slots` says.
        prefix: (L, 2, H, P, d) keys and values that every layer's attention sees before the text's own; the text's
            positions count on from them. Of an encoder-decoder, the encoder's.
        decoder: (L', 2, H, P, d), the same for a decoder's attention to itself.
    """

    tokens: Tensor | None = None
    prefix: Tensor | None = None
    decoder: Tensor | None = None

    @classmethod
    def of_prefix(cls, prefix: Tensor, layers: int) -> "Steering":
        """A prefix whose first `layers` go to the model or its encoder, and what is left to its decoder."""
        return cls(prefix=prefix[:layers], decoder=prefix[layers:] if len(prefix) > layers else None)

    @property
    def length(self) -> int:
        """Positions that the prefix takes."""
        return 0 if self.prefix is None else self.prefix.shape[3]


NOTHING = Steering()
