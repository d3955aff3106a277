"""Frozen encoders that accept prompts. Names are imported when they are first used (PEP 562)."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlprompt.backbones.clip import Clip as Clip
    from vlprompt.backbones.lm import LanguageModel as LanguageModel
    from vlprompt.backbones.lm_loading import load_lm as load_lm
    from vlprompt.backbones.loading import load_backbone as load_backbone
    from vlprompt.backbones.loading import load_clip as load_clip
    from vlprompt.backbones.prompt_types import TextPrompt as TextPrompt
    from vlprompt.backbones.prompt_types import VisualPrompt as VisualPrompt
    from vlprompt.backbones.vit import Vit as Vit
    from vlprompt.backbones.vit_loading import load_vit as load_vit

_MODULES = {
    "Clip": "clip",
    "LanguageModel": "lm",
    "TextPrompt": "prompt_types",
    "VisualPrompt": "prompt_types",
    "Vit": "vit",
    "load_backbone": "loading",
    "load_clip": "loading",
    "load_lm": "lm_loading",
    "load_vit": "vit_loading",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_MODULES)
