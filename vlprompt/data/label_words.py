"""Label words as a user gives them, in one form: for each class the words that mean it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vlprompt.errors import UsageError, unknown

Words = tuple[tuple[str, ...], ...]  # label words of each class
FORMS = "give one text or a list of texts for each class, as [['bad', 'awful'], ['good']]"


def label_words(given: Any, classes: Sequence[str] = ()) -> Words:
    """The label words of each class, in the order of the classes; empty for None.

    Args:
        given: A list with the words of each class. One text is one word. Or a table with class names as keys.
        classes: The class names; without them a table is refused.

    Raises:
        UsageError: A single text, a number, a set, or a class that is unknown or has no words.
    """
    if given is None:
        return ()
    if isinstance(given, Mapping):
        return _of_table(given, classes)
    if isinstance(given, str | bytes | set | frozenset) or not isinstance(given, Iterable):
        raise UsageError(f"label words are {given!r}; {FORMS}.")
    return tuple(_of_class(own) for own in given)


def _of_table(given: Mapping[Any, Any], classes: Sequence[str]) -> Words:
    """The words of a table {class: words}."""
    if not classes:
        raise UsageError(f"label words are a table, {dict(given)!r}, and no classes are known here; {FORMS}.")
    for name in given:
        if name not in classes:
            raise unknown("class of label words", str(name), classes)
    if missing := [name for name in classes if name not in given]:
        raise UsageError(f"label words have no entry for the classes {', '.join(missing)}; {FORMS}.")
    return tuple(_of_class(given[name]) for name in classes)


def _of_class(own: Any) -> tuple[str, ...]:
    """The words of one class."""
    own = [own] if isinstance(own, str) else own
    if isinstance(own, Mapping | bytes) or not isinstance(own, Iterable):
        raise UsageError(f"the label words of a class are {own!r}; {FORMS}.")
    words = tuple(own)
    if odd := [word for word in words if not isinstance(word, str)]:
        raise UsageError(f"the label words of a class contain {odd[0]!r}, which is no text; {FORMS}.")
    if not words or not all(word.strip() for word in words):
        raise UsageError(f"the label words of a class are {own!r}, and one is missing or empty; {FORMS}.")
    return tuple(str(word) for word in (sorted(words) if isinstance(own, set | frozenset) else words))
