"""One file per method family; the folder is the register.

An adapter is a module with

    METHOD: a regular expression for the manifest's method strings, matched whole and without regard to case
    INPUTS: regular expressions for the arrays that are given, matched whole
    replay(case, models) -> {array: what vlprompt makes of it}, a tensor, an array or an `Answer`

It runs vlprompt's own code on the inputs and answers every other array that the case may hold; it may answer more than
a case holds. An array that is neither answered nor given fails the case. What is answered is compared, given or not.
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
    """What an adapter's module offers."""

    __name__: str
    METHOD: str
    INPUTS: tuple[str, ...]

    def replay(self, case: Case, models: Models) -> Mapping[str, Any]:
        """Our arrays by name."""


@cache
def adapters() -> dict[str, Adapter]:
    """Every adapter by the name of its file."""
    found = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}") for name in found}


def adapter_name(method: str) -> str:
    """The adapter for a method of a manifest; empty where there is none.

    Raises:
        RuntimeError: Two adapters claim it.
    """
    claims = [name for name, each in adapters().items() if re.fullmatch(each.METHOD, method, re.IGNORECASE)]
    if len(claims) > 1:
        raise RuntimeError(f"the adapters {' and '.join(claims)} both claim {method!r}; narrow one's METHOD")
    return claims[0] if claims else ""
