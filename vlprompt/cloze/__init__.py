"""Text side: learners that fill a blank, one file per method; the folder is the register."""

from vlprompt.cloze import (
    autoprompt,
    fine_tuning,
    hard_prompt,
    in_context,
    ipet,
    label_words,
    p_tuning,
    p_tuning_v2,
    pet,
    prefix_tuning,
    prompt_oriented_fine_tuning,
    prompt_tuning,
    soft_verbalizer,
    text_linear,
)
from vlprompt.cloze.autoprompt import AutoPrompt, AutoPromptConfig
from vlprompt.cloze.fine_tuning import FineTuning, FineTuningConfig
from vlprompt.cloze.hard_prompt import HardPrompt, HardPromptConfig
from vlprompt.cloze.in_context import InContext, InContextConfig
from vlprompt.cloze.ipet import IPET, IPETConfig
from vlprompt.cloze.label_words import LabelWords, LabelWordsConfig
from vlprompt.cloze.p_tuning import PTuning, PTuningConfig
from vlprompt.cloze.p_tuning_v2 import PTuningV2, PTuningV2Config
from vlprompt.cloze.pet import PET, PETConfig
from vlprompt.cloze.prefix_tuning import PrefixTuning, PrefixTuningConfig
from vlprompt.cloze.prompt_oriented_fine_tuning import PromptOrientedFineTuning, PromptOrientedFineTuningConfig
from vlprompt.cloze.prompt_tuning import PromptTuning, PromptTuningConfig
from vlprompt.cloze.soft_verbalizer import SoftVerbalizer, SoftVerbalizerConfig
from vlprompt.cloze.template import Template
from vlprompt.cloze.text_linear import TextLinear, TextLinearConfig
from vlprompt.cloze.verbalizer import Verbalizer

__all__ = [
    "IPET",
    "PET",
    "SHARED",
    "AutoPrompt",
    "AutoPromptConfig",
    "FineTuning",
    "FineTuningConfig",
    "HardPrompt",
    "HardPromptConfig",
    "IPETConfig",
    "InContext",
    "InContextConfig",
    "LabelWords",
    "LabelWordsConfig",
    "PETConfig",
    "PTuning",
    "PTuningConfig",
    "PTuningV2",
    "PTuningV2Config",
    "PrefixTuning",
    "PrefixTuningConfig",
    "PromptOrientedFineTuning",
    "PromptOrientedFineTuningConfig",
    "PromptTuning",
    "PromptTuningConfig",
    "SoftVerbalizer",
    "SoftVerbalizerConfig",
    "Template",
    "TextLinear",
    "TextLinearConfig",
    "Verbalizer",
    "autoprompt",
    "fine_tuning",
    "hard_prompt",
    "in_context",
    "ipet",
    "label_words",
    "p_tuning",
    "p_tuning_v2",
    "pet",
    "prefix_tuning",
    "prompt_oriented_fine_tuning",
    "prompt_tuning",
    "soft_verbalizer",
    "text_linear",
]

# Files of this folder that are no methods.
SHARED = frozenset(
    {
        "base", "calibration", "choices", "demonstrations", "distilled", "ensemble", "frozen", "headed", "material",
        "pattern", "prefix", "rendering", "reparameterised", "several", "soft", "template", "text_classifier",
        "verbalizer", "word_search",
    }
)  # fmt: skip
