"""Class names, and an answer in terms of them."""

import html
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any

from torch import Tensor

from vlprompt.errors import UsageError, VlpromptError, warn


@dataclass(frozen=True)
class Prediction:
    """The answer for one image or text: the most probable class, and the probability of every class by name."""

    label: str
    probability: float
    probabilities: Mapping[str, float]

    @classmethod
    def of(cls, classes: Sequence[str], probabilities: Tensor) -> "Prediction":
        """The answer of (C,) probabilities."""
        by_name = dict(zip(classes, probabilities.tolist(), strict=True))
        best = int(probabilities.argmax())
        return cls(classes[best], float(probabilities[best]), by_name)


def check_classes(names: Iterable[Any], source: str = "") -> tuple[str, ...]:
    """Return class names as a tuple, with one warning where two of them read the same in a prompt.

    Names read the same where only case, "_" and blanks, HTML entities or full-width letters differ. Equal names are no
    error: ImageNet's usual list has "missile" and "sunglasses" twice.

    Args:
        names: Class names by label: a list, a tuple, an array or another iterable of strings; numbers become strings.
        source: The file or object that they were read from, for the messages; empty for a caller's own list.

    Raises:
        UsageError: There is no name, or one is empty or no text (VlpromptError where they were read from a source).
    """
    own = class_names(names, source)
    if not own:
        error, where = (VlpromptError, source) if source else (UsageError, "classes")
        raise error(f"{where}: expected a list of names for the classes, one or more; got none.")
    _warn_of_equals(own, source or "classes")
    return own


def class_names(names: Any, source: str = "") -> tuple[str, ...]:
    """Return class names as a tuple of strings, which may be empty; arguments and errors as for `check_classes`."""
    error, where = (VlpromptError, source) if source else (UsageError, "classes")
    if isinstance(names, str | bytes | Mapping) or not isinstance(names, Iterable):
        raise error(f"{where}: expected a list of names for the classes, one or more; got {names!r}.")
    given = [name.item() if hasattr(name, "item") else name for name in names]
    for label, name in enumerate(given):
        is_number = isinstance(name, Real) and not isinstance(name, bool) and math.isfinite(name)
        if not is_number and not isinstance(name, str):
            raise error(f"{where}: the name of class {label} must be a string; got {name!r}.")
    own = tuple(map(str, given))
    for label, name in enumerate(own):
        if not name.replace("_", " ").strip():
            raise error(f"{where}: class {label} has an empty name; every class needs one for its prompt.")
        if any("\ud800" <= letter <= "\udfff" for letter in name):
            raise error(f"{where}: the name of class {label}, {name!a}, is not valid Unicode; rename it.")
    return own


def prompt_form(name: str) -> str:
    """A class name as a prompt has it for the usual tokenizers: lower case, single blanks, plain letters."""
    return " ".join(unicodedata.normalize("NFKC", html.unescape(name)).replace("_", " ").casefold().split())


def in_order(names: Iterable[str]) -> list[str]:
    """Names sorted: numbers by their value (1, 2, 10), then all others by their letters."""
    return sorted(names, key=_order)


def _order(name: str) -> tuple[bool, Decimal, str]:
    number = re.fullmatch(r"-?[0-9]{1,100}(\.[0-9]{1,100})?", name)
    return not number, Decimal(name) if number else Decimal(0), name


def _warn_of_equals(names: Sequence[str], where: str) -> None:
    """Warn of the names that read the same, if there are any."""
    groups: dict[str, list[int]] = {}
    for label, name in enumerate(names):
        groups.setdefault(prompt_form(name), []).append(label)
    same = [labels for labels in groups.values() if len(labels) > 1]
    if same:
        listed = (f"{_joint(names, own)} (classes {', '.join(map(str, own[:10]))})" for own in same[:5])
        warn(
            f"{where}: class names appear more than once: {', '.join(listed)}{', ...' if len(same) > 5 else ''}; no "
            "prompt can distinguish such classes. Rename or join them."
        )


def _joint(names: Sequence[str], labels: Sequence[int]) -> str:
    """The name of several classes, or their spellings where these differ in more than "_"."""
    spellings = list(dict.fromkeys(names[label].replace("_", " ").strip() for label in labels))
    return spellings[0] if len(spellings) == 1 else " = ".join(repr(each) for each in spellings[:4])
