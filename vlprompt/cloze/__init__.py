"""Text methods, one file each. A file is imported when its module or its class is first used."""

import importlib
import pkgutil
from typing import Any

from vlprompt import find_member

FILES = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg))
_PARTS = {"ClozeConfig": "config", "ClozeLearner": "base", "Template": "template", "Verbalizer": "verbalizer"}


def __getattr__(name: str) -> Any:
    """A method's file by name, or a name that a file defines: `pet`, `PET`, `PETConfig`, `Template`."""
    if name in _PARTS:
        return getattr(importlib.import_module(f"{__name__}.parts.{_PARTS[name]}"), name)
    return find_member(__name__, FILES, name)


def __dir__() -> list[str]:
    return sorted([*FILES, *_PARTS])
