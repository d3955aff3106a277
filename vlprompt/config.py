"""Settings: frozen dataclasses that validate themselves, and settings given as text ("coop.n_ctx=4").

A field's type states what it may hold: `n_ctx: Count = 16`, `lr: Positive = 0.1`, `position: Literal["end", "front"]`.
"""

import json
import math
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, Protocol, get_args, get_origin, get_type_hints

from vlprompt.errors import UsageError, unknown

MOST = int(sys.float_info.max)  # whole numbers above it cannot become a float


class Check(Protocol):
    """A condition on a field, as `Annotated[type, check]`."""

    text: str  # what is allowed, for errors

    def allows(self, value: Any) -> bool:
        """Whether a value of the right type fulfils it."""


@dataclass(frozen=True)
class Range:
    """A condition: numbers from `low` to `high`, without the bounds that are open.

    Attributes:
        text: What is allowed, for errors.
    """

    text: str
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def allows(self, value: float) -> bool:
        """Whether a number is in the range; NaN never is."""
        inside = self.low <= value <= self.high
        return inside and not (self.low_open and value == self.low) and not (self.high_open and value == self.high)


Count = Annotated[int, Range("1 or more", low=1)]
CountOrZero = Annotated[int, Range("0 or more", low=0)]
Positive = Annotated[float, Range("above 0", low=0, low_open=True)]
NonNegative = Annotated[float, Range("0 or more", low=0)]
Fraction = Annotated[float, Range("from 0 to 1", low=0, high=1)]
Share = Annotated[float, Range("above 0 and at most 1", low=0, high=1, low_open=True)]
Dropout = Annotated[float, Range("from 0 to below 1", low=0, high=1, high_open=True)]


@dataclass(frozen=True)
class Settings:
    """Base of all configs: an object whose fields do not fit their types cannot be created.

    Lists become tuples, and whole numbers become floats where the field is a float. A subclass that has more to check
    overrides `__post_init__` and calls this one first.

    Raises:
        UsageError: A value does not fit; the message names the field, the value and what is allowed.
    """

    def __post_init__(self) -> None:
        """Convert and check every field."""
        hints = _hints(type(self))
        for field in fields(self):
            value = _converted(getattr(self, field.name), hints[field.name])
            object.__setattr__(self, field.name, value)
            _check(type(self), field.name, value, hints[field.name])

    def check_changed(self, names: Collection[str]) -> None:
        """Raise UsageError where one of the fields that a user changed has no effect beside the others."""


def by_owner(texts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Group settings by their owner: {"coop": {"n_ctx": 4}, "train": {"epochs": 10}}.

    The owner is what is before the last dot of the name, so it may be the path of a file. A value that is JSON (a
    number, true, false, a list) is read as JSON, any other as text.

    Raises:
        UsageError: A text is not of the form OWNER.NAME=VALUE.
    """
    grouped: dict[str, dict[str, Any]] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        owner, _, name = path.rpartition(".")
        if not (equals and owner and name):
            raise UsageError(f"setting {text!r} is not OWNER.NAME=VALUE, such as coop.n_ctx=4 or train.epochs=10.")
        grouped.setdefault(owner, {})[name] = _value(value)
    return grouped


def value_list(value: Any) -> list[Any]:
    """The values of a setting that has several: a list, or a text such as "0.1,1"; a single value is a list of one."""
    if isinstance(value, str):
        return [_value(part) for part in value.split(",") if part]
    return list(value) if isinstance(value, list) else [value]


def make_config(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """Build a configuration dataclass from plain values, as JSON or a command line gives them.

    Raises:
        UsageError: The dataclass has no such field, or the value does not fit it.
    """
    hints = _hints(kind)
    for name, value in values.items():
        if name not in hints:
            raise unknown(f"setting of {kind.__name__}", name, hints)
        _check(kind, name, value, hints[name])
    return kind(**values)


def _value(text: str) -> Any:
    """A value as JSON; a text that is no JSON, or is too deep, too long or half a character in it, stays as it is."""
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return text
    return value


def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _check(kind: type[Any], name: str, value: Any, hint: Any) -> None:
    if get_origin(hint) is Literal and isinstance(value, str) and value not in get_args(hint):
        raise unknown(f"{kind.__name__}.{name}", value, [str(choice) for choice in get_args(hint)])
    if not _fits(value, hint):
        raise UsageError(f"{kind.__name__}.{name} is {value!r}; it must be {_description(hint)}.")


def _converted(value: Any, hint: Any) -> Any:
    """A list as a tuple, and a whole number as a float where the hint is one."""
    if get_origin(hint) is Annotated:
        return _converted(value, get_args(hint)[0])
    if get_origin(hint) is tuple and isinstance(value, list | tuple):
        return tuple(_converted(each, get_args(hint)[0]) for each in value)
    return float(value) if hint is float and type(value) is int and abs(value) <= MOST else value


def _fits(value: Any, hint: Any) -> bool:
    """Whether a field of a type may hold a plain value."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _fits(value, inside[0]) and all(check.allows(value) for check in inside[1:])
    if origin is Literal:
        return value in inside
    if origin is tuple:
        return isinstance(value, list | tuple) and all(_fits(each, inside[0]) for each in value)
    if origin is None and isinstance(hint, type):
        if hint is float and type(value) is int:
            return abs(value) <= MOST
        return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    return isinstance(value, dict) if origin is dict else any(_fits(value, each) for each in inside)


def _description(hint: Any) -> str:
    """What a field may hold, in words."""
    inside = get_args(hint)
    if get_origin(hint) is Annotated:
        return ", ".join([_description(inside[0]), *(check.text for check in inside[1:])])
    if get_origin(hint) is Literal:
        return " or ".join(repr(value) for value in inside)
    if get_origin(hint) is tuple:
        return f"a list, each {_description(inside[0])}"
    if get_origin(hint) is dict:
        return "a table"
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false"}.get(hint, str(hint))
