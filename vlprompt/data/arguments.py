"""Arguments of tasks in Python: what is accepted for names, texts, words, numbers and paths."""

import operator
import os
from collections.abc import Iterable, Mapping, Sized
from pathlib import Path
from typing import Any

from vlprompt.errors import UsageError


def path_of(value: Any) -> Path:
    """A path with "~" expanded; UsageError for what is neither a string nor a path."""
    if not isinstance(value, str | os.PathLike) or isinstance(path := os.fspath(value), bytes) or not path:
        raise UsageError(f"expected a path, such as 'photos'; got {value!r}")
    try:
        (expanded := Path(path).expanduser()).exists()
    except (OSError, RuntimeError) as error:  # too long a name, or no home folder of that user
        reason = getattr(error, "strerror", "") or error
        raise UsageError(f"{_short(path)} is no path that can be opened ({reason})") from error
    return expanded


def columns_of(value: Any) -> tuple[str, ...]:
    """Names of columns: one string, several, or None or empty for none; UsageError for anything else."""
    if value is None or (isinstance(value, Sized) and not len(value)):
        return ()
    return strings_of(value, "a column's name")


def strings_of(value: Any, what: str) -> tuple[str, ...]:
    """One string or several as a tuple; UsageError for anything else.

    Args:
        value: A string, or a list, an array or another iterable of strings.
        what: Its name, for the error.
    """
    if isinstance(value, str):
        return (value,)
    given = () if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable) else tuple(value)
    if not given or not all(isinstance(each, str) for each in given):
        raise UsageError(f"{what} must be a string or several, not empty; got {_short(value)}")
    return tuple(map(str, given))


def check_name(name: Any) -> None:
    """Raise UsageError for the name of a task that is no string or would be a path to another folder.

    Names as vtab/kitti are allowed: each part becomes a folder of results.
    """
    if not isinstance(name, str):
        raise UsageError(f"the name of a task must be a string; got {_short(name)}")
    parts = name.split("/")
    if not name.isprintable() or "\\" in name or any(part.strip() in ("", ".", "..") for part in parts):
        raise UsageError(f"{name!r} cannot name a task: use printable characters without '\\', and no '..'; set name=")


def name_of(own: str, name: Any) -> Any:
    """The given name, or that of a file or folder, with "_" for what a task's name cannot contain."""
    if name or not isinstance(name, str | None):
        return name
    plain = "".join(char if char.isprintable() and char != "\\" else "_" for char in own)
    return plain if plain.strip() else "data"


def whole_number(value: Any, what: str) -> int:
    """An integer of Python or numpy; UsageError for all else, also for True and 2.0."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError as error:
        raise UsageError(f"{what} must be a whole number; got {_short(value)}") from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
