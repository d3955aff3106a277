"""Prompt-oriented fine-tuning: one pattern of PET. Schick and Schuetze, EACL 2021 (arXiv:2001.07676).

`parts/pattern.py` defines the loss, and lists where it departs from the authors' code.
"""

from dataclasses import dataclass
from typing import final

from vlprompt.cloze.parts.pattern import Pattern, PatternConfig
from vlprompt.cloze.parts.recipes import PATTERN_RECIPE as RECIPE
from vlprompt.training.config import Variant


@dataclass(frozen=True)
class PromptOrientedFineTuningConfig(PatternConfig):
    """One pattern."""


@final
class PromptOrientedFineTuning(Pattern[PromptOrientedFineTuningConfig]):
    """The whole model is trained to fill a pattern's blank with the right label word."""

    Config = PromptOrientedFineTuningConfig


VARIANTS = {
    "pet": Variant(
        PromptOrientedFineTuningConfig(), RECIPE, "Schick and Schuetze 2021 (arXiv:2001.07676), one pattern"
    ),
    "pet-lm": Variant(
        PromptOrientedFineTuningConfig(lm_training=True), RECIPE, "the same with --lm_training: unlabelled texts too"
    ),
}
