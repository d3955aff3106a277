"""vlprompt: prompt learning for frozen vision-language models. Names are imported when they are first used."""

import importlib
from collections.abc import Sequence
from typing import Any

__version__ = "0.1.0"

_PLACES = {
    "Clip": "backbones.clip",
    "Example": "data.images",
    "LanguageModel": "backbones.lm",
    "Needs": "data.needs",
    "PromptLearner": "learner",
    "Result": "experiments.results",
    "Scores": "training.evaluate",
    "Task": "data.task",
    "Text": "data.texts",
    "TrainConfig": "training.config",
    "TrainReport": "training.resume",
    "UsageError": "errors",
    "Variant": "training.config",
    "Vit": "backbones.vit",
    "VlpromptError": "errors",
    "evaluate": "training.evaluate",
    "fit": "training.fit",
    "load": "methods",
    "load_backbone": "backbones.loading",
    "load_clip": "backbones.loading",
    "load_lm": "backbones.lm_loading",
    "load_task": "data.catalog",
    "load_vit": "backbones.vit_loading",
    "readable": "data.image_reader",
}
_PACKAGES = ("cloze", "learners", "testing")

__all__ = [*_PLACES, *_PACKAGES, "__version__"]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def find_member(package: str, files: Sequence[str], name: str) -> Any:
    """A file of a package by name, or a class that one of its files defines: `coop`, `CoOp`, `CoOpConfig`.

    Args:
        package: Its full name.
        files: The names of its files. A class is named like its file, without underscores.
        name: What to find.

    Raises:
        AttributeError: There is no such file or class.
    """
    if name in files:
        return importlib.import_module(f"{package}.{name}")
    owner = name.removesuffix("Config").lower()
    for file in files:
        if file.replace("_", "") == owner:
            return getattr(importlib.import_module(f"{package}.{file}"), name)
    raise AttributeError(f"module {package!r} has no attribute {name!r}")
