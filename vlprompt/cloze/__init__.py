"""Text side: learners that fill a blank, one file per method; the folder is the register."""

from vlprompt.cloze import (
    fine_tuning,
    hard_prompt,
    p_tuning,
    p_tuning_v2,
    prefix_tuning,
    prompt_oriented_fine_tuning,
    prompt_tuning,
)
from vlprompt.cloze.fine_tuning import FineTuning, FineTuningConfig
from vlprompt.cloze.hard_prompt import HardPrompt, HardPromptConfig
from vlprompt.cloze.p_tuning import PTuning, PTuningConfig
from vlprompt.cloze.p_tuning_v2 import PTuningV2, PTuningV2Config
from vlprompt.cloze.prefix_tuning import PrefixTuning, PrefixTuningConfig
from vlprompt.cloze.prompt_oriented_fine_tuning import PromptOrientedFineTuning, PromptOrientedFineTuningConfig
from vlprompt.cloze.prompt_tuning import PromptTuning, PromptTuningConfig
from vlprompt.cloze.template import Template
from vlprompt.cloze.verbalizer import Verbalizer

__all__ = [
    "SHARED",
    "FineTuning",
    "FineTuningConfig",
    "HardPrompt",
    "HardPromptConfig",
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
    "Template",
    "Verbalizer",
    "fine_tuning",
    "hard_prompt",
    "p_tuning",
    "p_tuning_v2",
    "prefix_tuning",
    "prompt_oriented_fine_tuning",
    "prompt_tuning",
]

# Files of this folder that are no methods.
SHARED = frozenset(
    {"base", "calibration", "choices", "prefix", "rendering", "reparameterised", "soft", "template", "verbalizer"}
)
