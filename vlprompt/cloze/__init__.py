"""Text side: learners that fill a blank, one file per method; the folder is the register."""

from vlprompt.cloze import (
    autoprompt,
    fine_tuning,
    hard_prompt,
    label_words,
    p_tuning,
    p_tuning_v2,
    prefix_tuning,
    prompt_oriented_fine_tuning,
    prompt_tuning,
    soft_verbalizer,
    text_linear,
)
from vlprompt.cloze.autoprompt import AutoPrompt, AutoPromptConfig
from vlprompt.cloze.fine_tuning import FineTuning, FineTuningConfig
from vlprompt.cloze.hard_prompt import HardPrompt, HardPromptConfig
from vlprompt.cloze.label_words import LabelWords, LabelWordsConfig
from vlprompt.cloze.p_tuning import PTuning, PTuningConfig
from vlprompt.cloze.p_tuning_v2 import PTuningV2, PTuningV2Config
from vlprompt.cloze.prefix_tuning import PrefixTuning, PrefixTuningConfig
from vlprompt.cloze.prompt_oriented_fine_tuning import PromptOrientedFineTuning, PromptOrientedFineTuningConfig
from vlprompt.cloze.prompt_tuning import PromptTuning, PromptTuningConfig
from vlprompt.cloze.soft_verbalizer import SoftVerbalizer, SoftVerbalizerConfig
from vlprompt.cloze.template import Template
from vlprompt.cloze.text_linear import TextLinear, TextLinearConfig
from vlprompt.cloze.verbalizer import Verbalizer

__all__ = [
    "SHARED",
    "AutoPrompt",
    "AutoPromptConfig",
    "FineTuning",
    "FineTuningConfig",
    "HardPrompt",
    "HardPromptConfig",
    "LabelWords",
    "LabelWordsConfig",
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
    "label_words",
    "p_tuning",
    "p_tuning_v2",
    "prefix_tuning",
    "prompt_oriented_fine_tuning",
    "prompt_tuning",
    "soft_verbalizer",
    "text_linear",
]

# Files of this folder that are no methods.
SHARED = frozenset(
    {
        "base",
        "calibration",
        "choices",
        "frozen",
        "prefix",
        "rendering",
        "reparameterised",
        "soft",
        "template",
        "verbalizer",
        "word_search",
    }
)
