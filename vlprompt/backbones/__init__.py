"""Frozen encoders that take prompts; they have never heard of a class, a data set or a learner."""

from vlprompt.backbones.clip import Clip
from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_loading import load_lm
from vlprompt.backbones.loading import load_backbone, load_clip
from vlprompt.backbones.prompts import TextPrompt, VisualPrompt
from vlprompt.backbones.vit import Vit
from vlprompt.backbones.vit_loading import load_vit

__all__ = [
    "Clip",
    "LanguageModel",
    "TextPrompt",
    "VisualPrompt",
    "Vit",
    "load_backbone",
    "load_clip",
    "load_lm",
    "load_vit",
]
