"""Settings given as text: "coop.n_ctx=4" on a command line or in a file."""

import json
from collections.abc import Iterable
from typing import Any

from vlprompt.errors import UsageError


def by_owner(texts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Settings grouped by what they belong to: {"coop": {"n_ctx": 4}, "train": {"epochs": 10}}.

    A value is read as JSON where it is JSON (numbers, true, false, lists), else as text.

    Raises:
        UsageError: One does not read OWNER.NAME=VALUE.
    """
    grouped: dict[str, dict[str, Any]] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        owner, dot, name = path.partition(".")
        if not (equals and dot and owner and name):
            raise UsageError(f"setting {text!r} does not read OWNER.NAME=VALUE, as in coop.n_ctx=4 or train.epochs=10.")
        grouped.setdefault(owner, {})[name] = _value(value)
    return grouped


def several(value: Any) -> list[Any]:
    """The values of a setting that has several: a list, or a text as "0.1,1"; a single value is a list of one."""
    if isinstance(value, str):
        return [_value(part) for part in value.split(",") if part]
    return list(value) if isinstance(value, list) else [value]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
