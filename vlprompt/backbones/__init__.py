"""Frozen encoders that take prompts; they have never heard of a class, a data set or a learner."""

from vlprompt.backbones.clip import Clip
from vlprompt.backbones.loading import load_clip
from vlprompt.backbones.prompts import TextPrompt, VisualPrompt

__all__ = ["Clip", "TextPrompt", "VisualPrompt", "load_clip"]
