"""Templates of a cloze: "{text} It was {mask}." parsed once into a frozen value.

words          stand as they are; {{ and }} for braces
{name}         a field of the example; cut from its end where a text is too long
{name:whole}   a field that is never cut
{mask}         the blank
{soft:4}       four learned tokens
{soft:it was}  learned tokens, as many as the words have, that start from them
{sep}          the tokenizer's separator; what follows is the second segment
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Literal, NoReturn

from vlprompt.errors import UsageError, unknown

Kind = Literal["words", "field", "mask", "soft", "sep"]
SLOT = re.compile(r"([A-Za-z_]\w*)(?::(.*))?", re.DOTALL)
EXAMPLE = "as in '{text} It was {mask}.'"


@dataclass(frozen=True)
class Part:
    """A stretch of a template.

    Attributes:
        kind: What it is.
        column: Where it begins, counted from 1.
        text: Its words, its field's name, or the words that soft tokens start from.
        count: Soft tokens that start from no words.
        spaced: A space stands before it.
        whole: A field that is never cut.
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
        text: As it was given.
        parts: What it says.
    """

    text: str
    parts: tuple[Part, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Parse the text; raises UsageError with the column where it cannot be read."""
        object.__setattr__(self, "parts", tuple(_parts(self.text)))
        if sum(part.kind == "sep" for part in self.parts) > 1:
            self.fail(self.parts_of("sep")[1].column, "a second {sep}; a text has two segments at most")

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields, in order."""
        return tuple(part.text for part in self.parts_of("field"))

    @property
    def blanks(self) -> int:
        """How many blanks there are."""
        return len(self.parts_of("mask"))

    def check_blank(self) -> "Template":
        """The template, if it has one blank.

        Raises:
            UsageError: It has none, or several; with the column of the second.
        """
        masks = self.parts_of("mask")
        if not masks:
            self.fail(len(self.text) + 1, f"no {{mask}}; a cloze has one blank, {EXAMPLE}")
        if len(masks) > 1:
            self.fail(masks[1].column, "a second {mask}; a cloze has one blank")
        return self

    def check_fields(self, known: Collection[str]) -> "Template":
        """The template, if examples have all of its fields.

        Raises:
            UsageError: They lack one; with its column and the nearest names.
        """
        for part in self.parts_of("field"):
            if part.text not in known:
                said = unknown("slot", part.text, [*known, "mask", "soft:N", "sep"])
                self.fail(part.column, str(said))
        return self

    def fail(self, column: int, what: str) -> NoReturn:
        """Say what is wrong, and where."""
        raise UsageError(f"template {self.text!r}, column {column}: {what}")

    def parts_of(self, kind: Kind) -> list[Part]:
        """The parts of a kind, in order."""
        return [part for part in self.parts if part.kind == kind]


def without_words(template: Template) -> str:
    """The fields of a template and nothing else, the second of two as the second segment."""
    whole = [f"{{{part.text}:whole}}" if part.whole else f"{{{part.text}}}" for part in template.parts_of("field")]
    return "{sep}".join(whole) if len(whole) == 2 else " ".join(whole)


def _parts(text: str) -> Iterator[Part]:
    """The parts of a template, left to right."""
    spaced = False
    for column, piece in _pieces(text):
        if isinstance(piece, str):
            words = piece.strip(" ")
            if words:
                indent = len(piece) - len(piece.lstrip(" "))
                yield Part("words", column + indent, words, spaced=spaced or indent > 0)
                spaced = False
            spaced = spaced or piece[-1] == " "
        else:
            yield _slot(text, column, piece, spaced)
            spaced = False


def _pieces(text: str) -> Iterator[tuple[int, str | re.Match[str]]]:
    """Words as strings and slots as matches, each with its column."""
    words, column, place = "", 1, 0
    while place < len(text):
        if text[place : place + 2] in ("{{", "}}"):
            words += text[place]
            place += 2
        elif text[place] == "}":
            _fail(text, place, "a } without its {; write }} for a brace")
        elif text[place] != "{":
            words += text[place]
            place += 1
        else:
            if words:
                yield column, words
            end = text.find("}", place)
            if end < 0:
                _fail(text, place, "a { that is never closed; write {{ for a brace")
            match = SLOT.fullmatch(text[place + 1 : end].strip())
            if match is None:
                _fail(text, place, f"{text[place : end + 1]} is no slot; write the name of a field, {EXAMPLE}")
            yield place + 1, match
            words, place = "", end + 1
            column = place + 1
    if words:
        yield column, words


def _slot(text: str, column: int, match: re.Match[str], spaced: bool) -> Part:
    """What stands in one pair of braces."""
    name, option = match[1], match[2]
    if name in ("mask", "sep"):
        if option is not None:
            _fail(text, column - 1, f"{{{name}}} takes no option; {option!r} was given")
        return Part(name, column, spaced=spaced)  # type: ignore[arg-type]
    if name == "soft":
        given = (option or "").strip()
        if not given or given == "0":
            _fail(text, column - 1, "say how many soft tokens, or from which words they start: {soft:4}, {soft:it was}")
        count = int(given) if given.isdecimal() else 0
        return Part("soft", column, "" if count else given, count, spaced)
    if option not in (None, "whole"):
        _fail(text, column - 1, f"a field takes the option 'whole' only; {option!r} was given")
    return Part("field", column, name, spaced=spaced, whole=option == "whole")


def _fail(text: str, place: int, what: str) -> NoReturn:
    raise UsageError(f"template {text!r}, column {place + 1}: {what}")
