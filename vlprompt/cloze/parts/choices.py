"""Multiple choice: label words that each text provides. "{choice1}" means the text of its field choice1 (COPA, titles).

Classes are numbers of candidates, so scores are (B, C); a class whose field a text lacks scores -inf and is never
predicted. With a masked model this is COPA in PET (Schick and Schuetze, NAACL 2021, arXiv:2009.07118): a candidate's
pieces are filled in, the most probable first, each in one of its n blanks, and their log-probabilities summed; its
training reads all of them at once and requires a margin (pet/task_helpers.py, CopaTaskHelper). `pieces` selects another
order.

A causal model reads each piece after those before it, which is exact, and a candidate scores the mean of the
log-probabilities, which does not favour short ones; pieces="left_to_right" is the sum. An encoder-decoder reads one
piece.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import Row, Sequences, SoftPrompt
from vlprompt.backbones.lm_scoring import log_probs
from vlprompt.cloze.parts.multi_token import Examples, fill_blanks
from vlprompt.cloze.parts.rendering import Renderer
from vlprompt.cloze.parts.template import Template
from vlprompt.cloze.parts.verbalizer import LEFT_TO_RIGHT, MASKS, Pieces, check_pieces
from vlprompt.errors import UsageError

T = TypeVar("T")
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
class _Candidate:
    """A candidate's pieces, and the example and class that it belongs to."""

    example: int
    choice: int
    ids: list[int]


class Choices:
    """Scores of the candidates that texts provide.

    Args:
        lm: The model.
        template: With a blank.
        fields: Of the candidates, one for each class.
        max_length: The longest row in tokens.
        prefix_length: Positions of the model that a prefix takes.
        space: Candidates follow a space.
        pieces: How a candidate's pieces are scored; "single": as the model's kind does, see above.

    Raises:
        UsageError: The model has no such treatment of pieces, or rows are too short.
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
        pieces: Pieces = "single",
    ) -> None:
        check_pieces(lm, pieces)
        if pieces not in ("single", *MASKS, *LEFT_TO_RIGHT):
            raise UsageError(f"pieces={pieces!r} is for words of the vocabulary; candidates of texts take 'single'.")
        self.fields, self.space, self.kind, self.vocabulary = tuple(fields), space, lm.kind, lm.vocabulary
        self.order: Pieces = "masks" if pieces == "single" else pieces
        room = min(max_length or lm.max_length, lm.max_length - prefix_length)
        if room <= MAX_PIECES:
            raise UsageError(f"candidates take up to {MAX_PIECES} tokens and a row has {room}; raise max_length.")
        self.renderer = Renderer(template, lm, max_length=room - MAX_PIECES, prefix_length=prefix_length)

    def __call__(self, lm: LanguageModel, examples: Examples, prompt: SoftPrompt) -> Tensor:
        """Class scores (B, C): log-probabilities of candidates, -inf where there is none.

        Raises:
            UsageError: A text has no candidate, or an encoder-decoder is given one of several pieces.
        """
        rows, candidates = self._read(examples)
        score = self._filled if self.kind == "masked" else self._continued
        found = score(lm, rows, candidates, prompt)
        owner = [each.example * len(self.fields) + each.choice for each in candidates]
        scores = found.new_full((len(examples) * len(self.fields),), -torch.inf)
        return scores.index_put((torch.tensor(owner, device=found.device),), found).view(len(examples), -1)

    def loss(self, lm: LanguageModel, examples: Examples, labels: Tensor, prompt: SoftPrompt) -> Tensor:
        """PET's loss for a masked model, a scalar: max(0, 1 - (mean of the right pieces - mean of the wrong ones)).

        Each text has as many blanks as its longest candidate, all read at once. The means are over the pieces of a
        whole batch, as in the authors' code.

        Args:
            lm: A masked model.
            examples: B texts.
            labels: (B,) numbers of the right candidates.
            prompt: Learned tokens or prefix.
        """
        rows, candidates = self._read(examples)
        longest = [max(len(each.ids) for each in candidates if each.example == number) for number in range(len(rows))]
        pieces, is_right = [], []
        for blanks in sorted(set(longest)):
            own = [each for each in candidates if longest[each.example] == blanks]
            texts = self._sequences(lm, [_with_blanks(rows[each.example], blanks) for each in own])
            every = log_probs(lm, texts, blanks, prompt)  # (R, n, V)
            for row, each in zip(every, own, strict=True):
                pieces.append(row[range(len(each.ids)), each.ids])
                is_right += [each.choice == int(labels[each.example])] * len(each.ids)
        found, right = torch.cat(pieces), torch.tensor(is_right, device=lm.device)
        means = [(found * some).sum() / some.sum().clamp_min(1) for some in (right, ~right)]
        return (1 - means[0] + means[1]).clamp_min(0)

    def _read(self, examples: Examples) -> tuple[list[Row], list[_Candidate]]:
        """The rows of texts, and all their candidates."""
        rows, found = [self.renderer.row(example) for example in examples], []
        for number, example in enumerate(examples):
            own = [self._candidate(number, choice, example.get(field, "")) for choice, field in enumerate(self.fields)]
            if not any(each.ids for each in own):
                raise UsageError(f"a text has no candidate; give it one of the fields {', '.join(self.fields)}.")
            found += [each for each in own if each.ids]
        return rows, found

    def _candidate(self, number: int, choice: int, words: str) -> _Candidate:
        """A candidate of text `number`; without pieces if it is empty."""
        text = words.strip()
        ids = self.vocabulary.pieces(" " * self.space + text)[:MAX_PIECES] if text else []
        if self.kind == "encoder-decoder" and len(ids) > 1:
            raise UsageError(f"candidate {words!r} is {len(ids)} pieces; an encoder-decoder reads one.")
        return _Candidate(number, choice, ids)

    def _filled(
        self, lm: LanguageModel, rows: Sequence[Row], every: Sequence[_Candidate], prompt: SoftPrompt
    ) -> Tensor:
        """(R,) of a masked model, which fills as many blanks as a candidate has pieces."""
        found: dict[int, Tensor] = {}
        for blanks in sorted({len(each.ids) for each in every}):
            places = [place for place, each in enumerate(every) if len(each.ids) == blanks]
            for some in _chunks(places, ROWS_AT_ONCE // blanks):
                texts = self._sequences(lm, [_with_blanks(rows[every[place].example], blanks) for place in some])
                words = torch.tensor([every[place].ids for place in some], device=lm.device)
                found |= zip(some, fill_blanks(lm, texts, words, prompt, self.order), strict=True)
        return torch.stack([found[place] for place in range(len(every))])

    def _continued(
        self, lm: LanguageModel, rows: Sequence[Row], every: Sequence[_Candidate], prompt: SoftPrompt
    ) -> Tensor:
        """(R,) of a causal model, which reads each piece after those before it; or of a decoder, which reads one."""
        pieces = [(each, at) for each in every for at in range(len(each.ids))]
        found = []
        for some in _chunks(pieces, ROWS_AT_ONCE):
            texts = self._sequences(lm, [self._begun(rows[each.example], each.ids[:at]) for each, at in some])
            wanted = torch.tensor([each.ids[at] for each, at in some], device=lm.device)
            scores = lm.scores(texts, torch.arange(lm.vocabulary_size, device=lm.device), prompt).log_softmax(-1)
            found.append(scores.gather(1, wanted[:, None])[:, 0])
        owner = torch.tensor([place for place, each in enumerate(every) for _ in each.ids], device=lm.device)
        total = found[0].new_zeros(len(every)).index_add(0, owner, torch.cat(found))
        return total if self.order == "left_to_right" else total / torch.bincount(owner)

    def _begun(self, row: Row, ids: Sequence[int]) -> Row:
        """The row in which the piece after `ids` is read."""
        return _replaced(row, row.read + 1, ids, read=row.read + len(ids)) if self.kind == "causal" else row

    def _sequences(self, lm: LanguageModel, rows: Sequence[Row]) -> Sequences:
        return Sequences.of(rows, self.vocabulary.pad, lm.device)


def _chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The values, at most `size` at a time and at least one."""
    size = max(size, 1)
    return (values[start : start + size] for start in range(0, len(values), size))


def _with_blanks(row: Row, count: int) -> Row:
    """A row with several blanks in place of one."""
    return _replaced(row, row.read, [row.ids[row.read]] * count, read=row.read)


def _replaced(row: Row, start: int, ids: Sequence[int], read: int) -> Row:
    """A row with `ids` in place of its tokens from `start` to `row.read`, read at another position."""
    end = row.read + 1

    def put(held: tuple[int, ...], new: Sequence[int]) -> tuple[int, ...]:
        return (*held[:start], *new, *held[end:]) if held else ()

    segment = row.segments[row.read] if row.segments else 0
    slots, segments = put(row.slots, [-1] * len(ids)), put(row.segments, [segment] * len(ids))
    return replace(row, ids=put(row.ids, ids), read=read, slots=slots, segments=segments)
