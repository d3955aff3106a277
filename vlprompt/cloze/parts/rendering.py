"""Renderer: examples to token ids by a template. Fixed parts are never cut; fields are cut at their ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import Row, Sequences
from vlprompt.cloze.parts.template import Template, TemplatePart
from vlprompt.errors import UsageError


@dataclass
class _Stretch:
    """The ids of one part; `soft` numbers them where they are learned."""

    ids: list[int]
    part: TemplatePart
    soft: range | None = None


class Renderer:
    """A template in the tokens of one model.

    Attributes:
        template: The template.
        soft_words: The id that each of P soft tokens starts from; None where the template names no word.
        room: Length of the longest row, in tokens.
    """

    def __init__(
        self, template: Template, lm: LanguageModel, *, max_length: int = 0, prefix_length: int = 0, blanks: int = 1
    ) -> None:
        """Tokenise the fixed parts.

        Args:
            template: With a blank; without one, the first token's state is read (a causal model's last).
            lm: The model.
            max_length: Length of the longest row, special tokens included; 0: the model's own limit.
            prefix_length: Positions of the model that a prefix takes.
            blanks: Mask tokens that a masked model has in place of one blank; the first of them is read.

        Raises:
            UsageError: The model cannot process the template, or the fixed parts do not fit into a row.
        """
        self.template, self.lm, self.vocabulary = template, lm, lm.vocabulary
        self.room = min(max_length or lm.max_length, lm.max_length - prefix_length)
        self.soft_words: tuple[int | None, ...] = ()
        self._blanks = blanks
        self._causal = lm.kind == "causal"
        if self._causal:
            self._check_causal()
        self.parts = [self._fixed(part) for part in template.parts]
        empty = [_Stretch([], each.part) if each.part.kind == "field" else each for each in self.parts]
        if (length := len(self._joined(empty).ids)) > self.room or self.room < 1:
            self._refuse(length, prefix_length)

    @property
    def key(self) -> str:
        """Text that is equal for two renderers of one model only if they render every example in the same way."""
        row = f"{self.room} tokens of {self.vocabulary.fingerprint} for {self.lm.kind}"
        return f"{self.template.text!r} in {row}, special tokens in fields as plain text"

    def __call__(self, examples: Sequence[Mapping[str, str]]) -> Sequences:
        """B examples as padded rows on the model's device.

        Raises:
            UsageError: An example lacks a field, or fields that are never cut do not fit.
        """
        return Sequences.of([self.row(example) for example in examples], self.vocabulary.pad, self.lm.device)

    def row(self, example: Mapping[str, str], reserved: int = 0) -> Row:
        """One example as a row that leaves `reserved` tokens of its room free."""
        self.template.check_fields(example)
        parts = [self._filled(each, example) for each in self.parts]
        _shorten(parts, len(self._joined(parts).ids) + reserved - self.room, self.template)
        row = self._joined(parts)
        if row.read < 0:
            self.template.fail(1, "nothing precedes the blank, so a causal model has no token to answer from")
        return row

    def with_answer(self, example: Mapping[str, str], word: Sequence[int], room: int) -> tuple[int, ...]:
        """The ids of an example with a word in its blank, at most `room`, without the row's special tokens.

        Raises:
            UsageError: It lacks a field, or the template alone is longer.
        """
        self.template.check_fields(example)
        filled = [self._filled(each, example) for each in self.parts]
        parts = [_Stretch(list(word), each.part) if each.part.kind == "mask" else each for each in filled]
        _shorten(parts, sum(len(each.ids) for each in parts) - room, self.template)
        return tuple(piece for each in parts for piece in each.ids)

    def soft_start(self, fallback: Tensor) -> Tensor:
        """(P, D) start of the soft tokens: the embeddings of their words, else rows of `fallback` (P, D)."""
        start = fallback.clone()
        for number, word in enumerate(self.soft_words):
            if word is not None:
                start[number] = self.lm.table[word].to(start)
        return start

    def _refuse(self, length: int, prefix_length: int) -> NoReturn:
        """Raise UsageError for a template that takes `length` tokens, and a row has fewer."""
        alone, most = f"template {self.template.text!r} alone takes {length} tokens", self.lm.max_length
        if self.room == most - prefix_length and prefix_length:
            left = f"{self.lm.name} has {most} positions, a prefix takes {prefix_length} and {alone}"
            remedy = f"Set length to {most - max(length, 1)} or less" if length < most else "Shorten the template"
            raise UsageError(f"{left}; its blank would be cut off. {remedy}.")
        hint = "" if self.room < most else f" ({self.lm.name} has no more than {most} positions.)"
        raise UsageError(
            f"{alone} and a row has {self.room}; its blank would be cut off. Shorten the template or raise max_length."
            + hint
        )

    def _fixed(self, part: TemplatePart) -> _Stretch:
        """The ids of a part that do not depend on the example."""
        if part.kind == "words":
            return _Stretch(self._ids(part.text, part), part)
        if part.kind == "soft":
            words = self._ids(part.text, part) if part.text else []
            first = len(self.soft_words)
            self.soft_words += tuple(words) or (None,) * part.count
            count = len(self.soft_words) - first
            return _Stretch([self.vocabulary.pad] * count, part, range(first, first + count))
        if part.kind == "sep":
            return _Stretch(list(self.vocabulary.middle), part)
        if part.kind == "mask" and not self._causal:
            assert self.vocabulary.blank is not None  # `LanguageModel` refuses a model without one
            return _Stretch([self.vocabulary.blank] * self._blanks, part)
        return _Stretch([], part)

    def _filled(self, each: _Stretch, example: Mapping[str, str]) -> _Stretch:
        """A part with the example's text, if it is a field."""
        if each.part.kind != "field":
            return each
        return _Stretch(self._ids(example[each.part.text].strip(), each.part), each.part)

    def _ids(self, text: str, part: TemplatePart) -> list[int]:
        """The ids of words, with the space that precedes them in the template; only it may name special tokens."""
        return self.vocabulary.pieces(" " * part.spaced + text, special=part.kind != "field") if text else []

    def _joined(self, parts: Sequence[_Stretch]) -> Row:
        """One row of the parts and the tokenizer's special tokens."""
        lead = self.vocabulary.lead
        ids, slots, segments = list(lead), [-1] * len(lead), [0] * len(lead)
        read, segment = 0, 0
        for each in parts:
            if each.part.kind == "mask":
                read = len(ids) - self._causal  # a causal model answers at the token before
            ids += each.ids
            slots += each.soft or [-1] * len(each.ids)
            segments += [segment] * len(each.ids)
            segment |= each.part.kind == "sep"
        if self._causal and not self.template.blanks:
            read = len(ids) - 1  # the last token has seen all others
        tail = () if self._causal else self.vocabulary.tail
        return Row(
            (*ids, *tail),
            read,
            (*slots, *[-1] * len(tail)) if self.soft_words else (),
            (*segments, *[segment] * len(tail)) if segment else (),
        )

    def _check_causal(self) -> None:
        """Refuse words after the blank, which a causal model does not see."""
        seen = False
        for part in self.template.parts:
            if seen:
                self.template.fail(
                    part.column, f"{self.lm.name} is causal and reads nothing behind the blank; put {{mask}} last"
                )
            seen = part.kind == "mask"


def _shorten(parts: Sequence[_Stretch], surplus: int, template: Template) -> None:
    """Remove `surplus` tokens one by one, each from the end of the longest field; of two equal fields the last.

    With one field on each side of {sep} this is PET's rule (pet/pvp.py); with several on a side, PET empties the last.

    Raises:
        UsageError: No field is left that may be cut.
    """
    fields = [each for each in parts if each.part.kind == "field" and not each.part.whole]
    for _ in range(surplus):
        longest = max(reversed(fields), key=lambda each: len(each.ids), default=None)
        if longest is None or not longest.ids:
            template.fail(1, f"fields that are never cut make a row {surplus} tokens too long; allow one to be cut")
        longest.ids.pop()
