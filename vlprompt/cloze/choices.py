"""Label words that each text brings along: "{choice1}" stands for what its field choice1 says (COPA, Winograd, titles).

Classes are places among the candidates, so scores are (B, C) as ever; a class whose field a text lacks scores -inf,
which no loss and no answer takes. A candidate of n pieces scores the mean of their log-probabilities: of a causal model
each after those before it, which is exact; of a masked model each in its own of n blanks, all read at once, as PET does
to train (Schick and Schuetze, NAACL 2021, arXiv:2009.07118, "parallel"). Dividing by n keeps long ones from losing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.sequences import Row, Sequences, Steering
from vlprompt.cloze.rendering import Renderer
from vlprompt.cloze.template import Template
from vlprompt.errors import UsageError

SLOT = re.compile(r"\{([A-Za-z_]\w*)\}")
LONGEST = 24  # pieces of a candidate that count
ROWS = 256  # read at once: each brings scores of the whole vocabulary


def own_words(words: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The fields that label words stand for, one a class; empty where they are words like any other.

    Raises:
        UsageError: Some are fields and some are words, or a class has several fields.
    """
    found = [[SLOT.fullmatch(word.strip()) for word in own] for own in words]
    if not any(any(own) for own in found):
        return ()
    if not all(len(own) == 1 and own[0] for own in found):
        raise UsageError(f"label words {list(map(list, words))}: give each class one field, or all of them words.")
    return tuple(own[0][1] for own in found if own[0])


@dataclass(frozen=True)
class _Piece:
    """A piece of a candidate: whose it is, the row it is read in, and which it is."""

    example: int
    choice: int
    row: Row
    piece: int


class Choices:
    """Scores of the candidates that texts bring along.

    Args:
        lm: The model.
        template: With a blank.
        fields: Of the candidates, class by class.
        max_length: The longest row in tokens.
        taken: Positions that a prefix takes from the model's.
        space: Candidates follow a space.
    """

    def __init__(
        self, lm: LanguageModel, template: Template, fields: Sequence[str], *, max_length: int, taken: int, space: bool
    ) -> None:
        self.fields, self.space, self.kind, self.vocabulary = tuple(fields), space, lm.kind, lm.vocabulary
        room = min(max_length, lm.max_length - taken) - LONGEST
        self.renderer = Renderer(template, lm, max_length=room, taken=taken)

    def __call__(self, lm: LanguageModel, examples: Sequence[Mapping[str, str]], prompt: Steering) -> Tensor:
        """Class scores (B, C): mean log-probabilities of candidates, -inf where there is none.

        Raises:
            UsageError: A text has no candidate, or an encoder-decoder is given one of several pieces.
        """
        pieces = [each for number, example in enumerate(examples) for each in self._pieces(number, example)]
        found = torch.cat([self._read(lm, pieces[at : at + ROWS], prompt) for at in range(0, len(pieces), ROWS)])
        cells = len(examples) * len(self.fields)
        owner = torch.tensor([p.example * len(self.fields) + p.choice for p in pieces], device=found.device)
        total = found.new_zeros(cells).index_add(0, owner, found)
        count = torch.bincount(owner, minlength=cells)
        scores = torch.where(count > 0, total / count.clamp_min(1), -torch.inf)
        return scores.view(len(examples), len(self.fields))

    def _pieces(self, number: int, example: Mapping[str, str]) -> list[_Piece]:
        """All pieces of a text's candidates, each with the row it is read in."""
        row, made = self.renderer.row(example), []
        for choice, field in enumerate(self.fields):
            ids = self.vocabulary.pieces(" " * self.space + example.get(field, "").strip())[:LONGEST]
            if not example.get(field, "").strip():
                continue
            if self.kind == "encoder-decoder" and len(ids) > 1:
                raise UsageError(f"candidate {example[field]!r} is {len(ids)} pieces; an encoder-decoder reads one.")
            made += [_Piece(number, choice, self._with(row, ids, at), piece) for at, piece in enumerate(ids)]
        if not made:
            raise UsageError(f"a text has no candidate; give it one of the fields {', '.join(self.fields)}.")
        return made

    def _with(self, row: Row, ids: Sequence[int], at: int) -> Row:
        """A row in which the piece at a place among a candidate's ids is to be read."""
        if self.kind == "causal":
            return _widened(row, row.read + 1, row.read + 1, ids[:at], row.read + at)
        return (
            _widened(row, row.read, row.read + 1, [row.ids[row.read]] * len(ids), row.read + at)
            if at or ids[1:]
            else row
        )

    def _read(self, lm: LanguageModel, pieces: Sequence[_Piece], prompt: Steering) -> Tensor:
        """(R,) log-probabilities of pieces."""
        texts = Sequences.of([each.row for each in pieces], self.vocabulary.pad, lm.device)
        every = torch.arange(lm.vocabulary_size, device=lm.device)
        wanted = torch.tensor([each.piece for each in pieces], device=lm.device)
        scores = lm.scores(texts, every, prompt).log_softmax(-1)
        return scores.gather(1, wanted[:, None])[:, 0]


def _widened(row: Row, start: int, end: int, ids: Sequence[int], read: int) -> Row:
    """A row with `ids` in place of what stands from start to end, read elsewhere."""

    def put(held: tuple[int, ...], new: Sequence[int]) -> tuple[int, ...]:
        return (*held[:start], *new, *held[end:]) if held else ()

    segment = row.segments[row.read] if row.segments else 0
    slots, segments = put(row.slots, [-1] * len(ids)), put(row.segments, [segment] * len(ids))
    return replace(row, ids=put(row.ids, ids), read=read, slots=slots, segments=segments)
