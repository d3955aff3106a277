"""Cloze templates: "{text} It was {mask}." is parsed once into a frozen value.

words          copied as they are; {{ and }} give braces
{name}         a field of the example; its end is cut where a text is too long
{name:whole}   a field that is never cut
{mask}         the blank
{soft:4}       four learned tokens
{soft:it was}  learned tokens that start from words, one for each token of the words
{sep}          the tokenizer's separator; the second segment follows
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Literal, NoReturn

from vlprompt.errors import UsageError, unknown

Kind = Literal["words", "field", "mask", "soft", "sep"]
TOKEN = re.compile(r"(?P<brace>\{\{|\}\})|\{(?P<slot>[^}]*)(?P<close>\}?)|(?P<stray>\})|[^{}]+")
SLOT = re.compile(r"([A-Za-z_]\w*)(?::(.*))?", re.DOTALL)
EXAMPLE = "as in '{text} It was {mask}.'"


@dataclass(frozen=True)
class TemplatePart:
    """A part of a template.

    Attributes:
        kind: Words, or the kind of a slot.
        column: Where it begins, counted from 1.
        text: Its words, the name of its field, or the words that soft tokens start from.
        count: Number of soft tokens that start from no words.
        spaced: Whether a space precedes it.
        whole: Whether the field is never cut.
    """

    kind: Kind
    column: int
    text: str = ""
    count: int = 0
    spaced: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Template:
    """A template and its parts in order.

    Attributes:
        text: As the user wrote it.
        parts: The parsed text.
    """

    text: str
    parts: tuple[TemplatePart, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Parse the text; raise UsageError with the column of a fault."""
        object.__setattr__(self, "parts", tuple(_parts(self.text)))
        if len(separators := self.parts_of("sep")) > 1:
            self.fail(separators[1].column, "a second {sep}; a text has two segments at most")

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields, in order."""
        return tuple(part.text for part in self.parts_of("field"))

    @property
    def blanks(self) -> int:
        """The number of blanks."""
        return len(self.parts_of("mask"))

    def check_blank(self) -> "Template":
        """The template, if it has one blank.

        Raises:
            UsageError: It has none, or several (with the column of the second).
        """
        masks = self.parts_of("mask")
        if not masks:
            self.fail(len(self.text) + 1, f"no {{mask}}; a cloze has one blank, {EXAMPLE}")
        if len(masks) > 1:
            self.fail(masks[1].column, "a second {mask}; a cloze has one blank")
        return self

    def check_fields(self, known: Collection[str]) -> None:
        """Raise UsageError, with its column and the nearest names, for a field that an example does not have."""
        for part in self.parts_of("field"):
            if part.text not in known:
                self.fail(part.column, str(unknown("slot", part.text, [*known, "mask", "soft:N", "sep"])))

    def fail(self, column: int, what: str) -> NoReturn:
        """Raise UsageError with a column and what is wrong there."""
        _fail(self.text, column, what)

    def parts_of(self, kind: Kind) -> list[TemplatePart]:
        """The parts of a kind, in order."""
        return [part for part in self.parts if part.kind == kind]


def without_words(template: Template) -> str:
    """The fields of a template and nothing else; if there are two, the second is the second segment."""
    fields = [f"{{{part.text}:whole}}" if part.whole else f"{{{part.text}}}" for part in template.parts_of("field")]
    return "{sep}".join(fields) if len(fields) == 2 else " ".join(fields)


def _parts(text: str) -> Iterator[TemplatePart]:
    """The parts of a template, left to right."""
    spaced = False
    for column, piece in _pieces(text):
        if isinstance(piece, str):
            words = piece.strip(" ")
            if words:
                indent = len(piece) - len(piece.lstrip(" "))
                yield TemplatePart("words", column + indent, words, spaced=spaced or indent > 0)
                spaced = False
            spaced = spaced or piece[-1] == " "
        else:
            yield _slot(text, column, piece, spaced)
            spaced = False


def _pieces(text: str) -> Iterator[tuple[int, str | re.Match[str]]]:
    """Words as strings and slots as matches, each with its column."""
    words, column = "", 1
    for token in TOKEN.finditer(text):
        start = token.start() + 1
        if token["stray"]:
            _fail(text, start, "a } without its {; write }} for a brace")
        if token["slot"] is None:
            words += token[0][0] if token["brace"] else token[0]
            continue
        if not token["close"]:
            _fail(text, start, "a { that is never closed; write {{ for a brace")
        match = SLOT.fullmatch(token["slot"].strip())
        if match is None:
            _fail(text, start, f"{repr(token[0])[1:-1]} is no slot; write the name of a field, {EXAMPLE}")
        if words:
            yield column, words
        yield start, match
        words, column = "", token.end() + 1
    if words:
        yield column, words


def _slot(text: str, column: int, match: re.Match[str], spaced: bool) -> TemplatePart:
    """The part that one pair of braces describes."""
    name, option = match[1], match[2]
    if name in ("mask", "sep"):
        if option is not None:
            _fail(text, column, f"{{{name}}} takes no option; {option!r} was given")
        return TemplatePart(name, column, spaced=spaced)  # type: ignore[arg-type]
    if name == "soft":
        given = (option or "").strip()
        if not given or given == "0":
            _fail(text, column, "give the number of soft tokens, or words to start from: {soft:4}, {soft:it was}")
        if given.isdecimal() and len(given) > 6:
            _fail(text, column, f"{given[:20]} soft tokens are too many; no model reads a million")
        count = int(given) if given.isdecimal() else 0
        return TemplatePart("soft", column, "" if count else given, count, spaced)
    if option not in (None, "whole"):
        _fail(text, column, f"a field takes the option 'whole' only; {option!r} was given")
    return TemplatePart("field", column, name, spaced=spaced, whole=option == "whole")


def _fail(text: str, column: int, what: str) -> NoReturn:
    raise UsageError(f"template {text!r}, column {column}: {what}")
