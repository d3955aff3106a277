"""Examples to token ids by a template: what is fixed is never cut, what is too long is cut from its end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.sequences import Row, Sequences
from vlprompt.cloze.template import Part, Template
from vlprompt.errors import UsageError


@dataclass
class _Stretch:
    """The ids of one part; `soft` numbers them where they are learned."""

    ids: list[int]
    part: Part
    soft: range | None = None


class Renderer:
    """A template in the tokens of one model.

    Attributes:
        template: The template.
        soft_words: What each soft token starts from, (P,) ids; None where it starts from nothing in particular.
        room: The longest row.
    """

    def __init__(
        self, template: Template, lm: LanguageModel, *, max_length: int = 0, taken: int = 0, blanks: int = 1
    ) -> None:
        """Tokenise what is fixed.

        Args:
            template: With a blank or without (then the first token is read).
            lm: The model.
            max_length: The longest row in tokens, special ones included; 0: what the model takes.
            taken: Positions that a prefix takes from the model's.
            blanks: How many of a masked model stand for one, the first of them being read.

        Raises:
            UsageError: The template asks for what the model cannot do, or does not fit into a row.
        """
        self.template, self.lm, self.vocabulary = template, lm, lm.vocabulary
        self.room = min(max_length or lm.max_length, lm.max_length - taken)
        self.soft_words: tuple[int | None, ...] = ()
        self._blanks = blanks
        self._causal = lm.kind == "causal"
        if self._causal:
            self._check_causal()
        self.parts = [self._fixed(part) for part in template.parts]
        longest = [_Stretch([], each.part) if each.part.kind == "field" else each for each in self.parts]
        if (length := len(self._joined(longest).ids)) > self.room:
            raise UsageError(
                f"template {template.text!r} alone takes {length} tokens and a row has {self.room}; its blank would be "
                "cut off. Shorten the template or raise max_length."
            )

    @property
    def key(self) -> str:
        """Text that is equal for two renderers of one model only if they make the same rows of every example."""
        return f"{self.template.text!r} in {self.room} tokens of {self.vocabulary.fingerprint} for {self.lm.kind}"

    def __call__(self, examples: Sequence[Mapping[str, str]]) -> Sequences:
        """B examples as padded rows on the model's device.

        Raises:
            UsageError: An example lacks a field, or fields that are never cut do not fit.
        """
        rows = [self.row(example) for example in examples]
        return Sequences.of(rows, self.vocabulary.pad, self.lm.device)

    def row(self, example: Mapping[str, str], spent: int = 0) -> Row:
        """One example as a row, where so many tokens of it are spent on something else."""
        self.template.check_fields(example)
        parts = [self._filled(each, example) for each in self.parts]
        _shorten(parts, len(self._joined(parts).ids) + spent - self.room, self.template)
        row = self._joined(parts)
        if row.read < 0:
            self.template.fail(1, "nothing stands before the blank, so a causal model has nothing to answer from")
        return row

    def answered(self, example: Mapping[str, str], word: Sequence[int], room: int) -> tuple[int, ...]:
        """An example with a word's pieces in its blank, at most `room` ids, without what is put around a row.

        Raises:
            UsageError: It lacks a field, or the template alone is longer.
        """
        self.template.check_fields(example)
        filled = [self._filled(each, example) for each in self.parts]
        parts = [_Stretch(list(word), each.part) if each.part.kind == "mask" else each for each in filled]
        _shorten(parts, sum(len(each.ids) for each in parts) - room, self.template)
        return tuple(piece for each in parts for piece in each.ids)

    def soft_start(self, fallback: Tensor) -> Tensor:
        """(P, D) start of the soft tokens: the embeddings of their words, rows of `fallback` (P, D) elsewhere."""
        start = fallback.clone()
        for number, word in enumerate(self.soft_words):
            if word is not None:
                start[number] = self.lm.table[word].to(start)
        return start

    def _fixed(self, part: Part) -> _Stretch:
        """A part's ids as far as they are known without an example."""
        if part.kind == "words":
            return _Stretch(self._pieces(part.text, part), part)
        if part.kind == "soft":
            words = self._pieces(part.text, part) if part.text else []
            first = len(self.soft_words)
            self.soft_words += tuple(words) or (None,) * part.count
            count = len(self.soft_words) - first
            return _Stretch([self.vocabulary.pad] * count, part, range(first, first + count))
        if part.kind == "sep":
            return _Stretch(list(self.vocabulary.middle), part)
        if part.kind == "mask" and not self._causal:
            assert self.vocabulary.blank is not None  # the model was refused otherwise
            return _Stretch([self.vocabulary.blank] * self._blanks, part)
        return _Stretch([], part)

    def _filled(self, each: _Stretch, example: Mapping[str, str]) -> _Stretch:
        if each.part.kind != "field":
            return each
        return _Stretch(self._pieces(example[each.part.text].strip(), each.part), each.part)

    def _pieces(self, text: str, part: Part) -> list[int]:
        """The ids of words, with the space before them that the template shows."""
        return self.vocabulary.pieces(" " * part.spaced + text) if text else []

    def _joined(self, parts: Sequence[_Stretch]) -> Row:
        """One row out of its parts, with what the tokenizer puts around it."""
        lead = self.vocabulary.lead
        ids, slots, segments = list(lead), [-1] * len(lead), [0] * len(lead)
        read, segment = 0, 0
        for each in parts:
            if each.part.kind == "mask":
                read = len(ids) - self._causal  # a causal model answers from the token before
            ids += each.ids
            slots += each.soft or [-1] * len(each.ids)
            segments += [segment] * len(each.ids)
            segment |= each.part.kind == "sep"
        if self._causal and not self.template.blanks:
            read = len(ids) - 1  # where it has seen everything
        tail = () if self._causal else self.vocabulary.tail
        return Row(
            (*ids, *tail),
            read,
            (*slots, *[-1] * len(tail)) if self.soft_words else (),
            (*segments, *[segment] * len(tail)) if segment else (),
        )

    def _check_causal(self) -> None:
        """Refuse words behind the blank: a causal model would never see them."""
        seen = False
        for part in self.template.parts:
            if seen:
                self.template.fail(
                    part.column, f"{self.lm.name} is causal and reads nothing behind the blank; put {{mask}} last"
                )
            seen = part.kind == "mask"


def _shorten(parts: Sequence[_Stretch], surplus: int, template: Template) -> None:
    """Take tokens off the end of the longest field, one by one, of two equal ones the last.

    (With one field on each side of {sep} this is PET's rule, pet/pvp.py; with several on a side, PET empties the last.)

    Raises:
        UsageError: There is nothing left that may be cut.
    """
    fields = [each for each in parts if each.part.kind == "field" and not each.part.whole]
    for _ in range(surplus):
        longest = max(reversed(fields), key=lambda each: len(each.ids), default=None)
        if longest is None or not longest.ids:
            template.fail(1, f"fields that are never cut make a row {surplus} tokens too long; allow one to be cut")
        longest.ids.pop()
