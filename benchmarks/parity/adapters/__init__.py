"""Adapters, one module per method family.

An adapter defines

    METHOD: a regular expression for the manifest's method texts, matched whole and without regard to case
    INPUTS: regular expressions for the arrays that are inputs, matched whole
    replay(case, models) -> {array: vlprompt's value}, a tensor, an array or an `Answer`

It runs vlprompt's own code on the inputs and answers every other array that the case may have; it may answer more. An
array that is neither answered nor an input fails the case. Every answered array is compared, also where it is an input.
"""

import importlib
import pkgutil
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Protocol

from benchmarks.parity.case import Case
from benchmarks.parity.models import Models


class Adapter(Protocol):
    """The members of an adapter's module."""

    __name__: str
    METHOD: str
    INPUTS: tuple[str, ...]

    def replay(self, case: Case, models: Models) -> Mapping[str, Any]:
        """Our arrays by name."""


@cache
def adapters() -> dict[str, Adapter]:
    """Every adapter by the name of its file."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}") for name in names}


def adapter_name(method: str) -> str:
    """The adapter for a method of a manifest; empty where there is none.

    Raises:
        RuntimeError: Two adapters match.
    """
    matches = [name for name, each in adapters().items() if re.fullmatch(each.METHOD, method, re.IGNORECASE)]
    if len(matches) > 1:
        raise RuntimeError(f"the adapters {' and '.join(matches)} both match {method!r}; narrow one's METHOD")
    return matches[0] if matches else ""
