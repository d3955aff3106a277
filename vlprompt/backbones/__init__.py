"""Frozen encoders that take prompts; they have never heard of a class, a data set or a learner."""

from vlprompt.backbones.clip import Clip
from vlprompt.backbones.loading import load_backbone, load_clip
from vlprompt.backbones.prompts import TextPrompt, VisualPrompt
from vlprompt.backbones.vit import Vit
from vlprompt.backbones.vit_loading import load_vit

__all__ = ["Clip", "TextPrompt", "VisualPrompt", "Vit", "load_backbone", "load_clip", "load_vit"]
