"""Image methods, one file each. A file is imported when its module or its class is first used."""

import pkgutil
from typing import Any

from vlprompt import find_member

FILES = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def __getattr__(name: str) -> Any:
    """A method's file by name, or what a file defines: `coop`, `CoOp`, `CoOpConfig`."""
    return find_member(__name__, FILES, name)


def __dir__() -> list[str]:
    return list(FILES)
