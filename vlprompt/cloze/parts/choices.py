"""Multiple choice: label words that each text provides. "{choice1}" means the text of its field choice1 (COPA, titles).

Classes are numbers of candidates, so scores are (B, C); a class whose field a text lacks scores -inf and is never
predicted. A candidate of n pieces scores the mean of their log-probabilities: of a causal model each after those before
it, which is exact; of a masked model each in its own of n blanks, all read at once, as in PET's training (Schick and
Schuetze, NAACL 2021, arXiv:2009.07118, "parallel"). The division by n does not favour short candidates.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import Row, Sequences, SoftPrompt
from vlprompt.cloze.parts.rendering import Renderer
from vlprompt.cloze.parts.template import Template
from vlprompt.errors import UsageError

FIELD = re.compile(r"\{([A-Za-z_]\w*)\}")
MAX_PIECES = 24  # of a candidate; what is longer is cut
ROWS_AT_ONCE = 256  # each needs the scores of the whole vocabulary


def choice_fields(words: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The field of each class's candidates; empty where label words are words.

    Raises:
        UsageError: Some are fields and some are words, or a class has several fields.
    """
    fields = [[FIELD.fullmatch(word.strip()) for word in own] for own in words]
    if not any(any(own) for own in fields):
        return ()
    if not all(len(own) == 1 and own[0] for own in fields):
        raise UsageError(f"label words {list(map(list, words))}: give each class one field, or all of them words.")
    return tuple(own[0][1] for own in fields if own[0])


@dataclass(frozen=True)
class _Piece:
    """A piece of a candidate, the example and class that it belongs to, and the row in which it is read."""

    example: int
    choice: int
    row: Row
    piece: int


class Choices:
    """Scores of the candidates that texts provide.

    Args:
        lm: The model.
        template: With a blank.
        fields: Of the candidates, one for each class.
        max_length: The longest row in tokens.
        prefix_length: Positions of the model that a prefix takes.
        space: Candidates follow a space.
    """

    def __init__(
        self,
        lm: LanguageModel,
        template: Template,
        fields: Sequence[str],
        *,
        max_length: int,
        prefix_length: int,
        space: bool,
    ) -> None:
        self.fields, self.space, self.kind, self.vocabulary = tuple(fields), space, lm.kind, lm.vocabulary
        room = min(max_length, lm.max_length - prefix_length) - MAX_PIECES
        self.renderer = Renderer(template, lm, max_length=room, prefix_length=prefix_length)

    def __call__(self, lm: LanguageModel, examples: Sequence[Mapping[str, str]], prompt: SoftPrompt) -> Tensor:
        """Class scores (B, C): mean log-probabilities of candidates, -inf where there is none.

        Raises:
            UsageError: A text has no candidate, or an encoder-decoder is given one of several pieces.
        """
        pieces = [each for number, example in enumerate(examples) for each in self._pieces(number, example)]
        starts = range(0, len(pieces), ROWS_AT_ONCE)
        log_probs = torch.cat([self._read(lm, pieces[at : at + ROWS_AT_ONCE], prompt) for at in starts])
        cells = len(examples) * len(self.fields)
        owner = torch.tensor([p.example * len(self.fields) + p.choice for p in pieces], device=log_probs.device)
        total = log_probs.new_zeros(cells).index_add(0, owner, log_probs)
        count = torch.bincount(owner, minlength=cells)
        scores = torch.where(count > 0, total / count.clamp_min(1), -torch.inf)
        return scores.view(len(examples), len(self.fields))

    def _pieces(self, number: int, example: Mapping[str, str]) -> list[_Piece]:
        """All pieces of a text's candidates, each with the row in which it is read."""
        row, pieces = self.renderer.row(example), []
        for choice, field in enumerate(self.fields):
            candidate = example.get(field, "").strip()
            if not candidate:
                continue
            ids = self.vocabulary.pieces(" " * self.space + candidate)[:MAX_PIECES]
            if self.kind == "encoder-decoder" and len(ids) > 1:
                raise UsageError(f"candidate {example[field]!r} is {len(ids)} pieces; an encoder-decoder reads one.")
            pieces += [_Piece(number, choice, self._row(row, ids, at), piece) for at, piece in enumerate(ids)]
        if not pieces:
            raise UsageError(f"a text has no candidate; give it one of the fields {', '.join(self.fields)}.")
        return pieces

    def _row(self, row: Row, ids: Sequence[int], at: int) -> Row:
        """The row in which piece number `at` of a candidate is read."""
        if self.kind == "causal":
            return _replaced(row, row.read + 1, ids[:at], read=row.read + at)
        if len(ids) == 1:
            return row
        return _replaced(row, row.read, [row.ids[row.read]] * len(ids), read=row.read + at)

    def _read(self, lm: LanguageModel, pieces: Sequence[_Piece], prompt: SoftPrompt) -> Tensor:
        """(R,) log-probabilities of pieces."""
        texts = Sequences.of([each.row for each in pieces], self.vocabulary.pad, lm.device)
        every = torch.arange(lm.vocabulary_size, device=lm.device)
        wanted = torch.tensor([each.piece for each in pieces], device=lm.device)
        scores = lm.scores(texts, every, prompt).log_softmax(-1)
        return scores.gather(1, wanted[:, None])[:, 0]


def _replaced(row: Row, start: int, ids: Sequence[int], read: int) -> Row:
    """A row with `ids` in place of its tokens from `start` to `row.read`, read at another position."""
    end = row.read + 1

    def put(held: tuple[int, ...], new: Sequence[int]) -> tuple[int, ...]:
        return (*held[:start], *new, *held[end:]) if held else ()

    segment = row.segments[row.read] if row.segments else 0
    slots, segments = put(row.slots, [-1] * len(ids)), put(row.segments, [segment] * len(ids))
    return replace(row, ids=put(row.ids, ids), read=read, slots=slots, segments=segments)
