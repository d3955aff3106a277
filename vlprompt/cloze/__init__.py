"""Text side: learners that fill a blank, one file per method; the folder is the register."""

from vlprompt.cloze import (
    fine_tuning,
    hard_prompt,
    in_context,
    ipet,
    p_tuning,
    p_tuning_v2,
    pet,
    prefix_tuning,
    prompt_oriented_fine_tuning,
    prompt_tuning,
)
from vlprompt.cloze.fine_tuning import FineTuning, FineTuningConfig
from vlprompt.cloze.hard_prompt import HardPrompt, HardPromptConfig
from vlprompt.cloze.in_context import InContext, InContextConfig
from vlprompt.cloze.ipet import IPET, IPETConfig
from vlprompt.cloze.p_tuning import PTuning, PTuningConfig
from vlprompt.cloze.p_tuning_v2 import PTuningV2, PTuningV2Config
from vlprompt.cloze.pet import PET, PETConfig
from vlprompt.cloze.prefix_tuning import PrefixTuning, PrefixTuningConfig
from vlprompt.cloze.prompt_oriented_fine_tuning import PromptOrientedFineTuning, PromptOrientedFineTuningConfig
from vlprompt.cloze.prompt_tuning import PromptTuning, PromptTuningConfig
from vlprompt.cloze.template import Template
from vlprompt.cloze.verbalizer import Verbalizer

__all__ = [
    "IPET",
    "PET",
    "SHARED",
    "FineTuning",
    "FineTuningConfig",
    "HardPrompt",
    "HardPromptConfig",
    "IPETConfig",
    "InContext",
    "InContextConfig",
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
    "Template",
    "Verbalizer",
    "fine_tuning",
    "hard_prompt",
    "in_context",
    "ipet",
    "p_tuning",
    "p_tuning_v2",
    "pet",
    "prefix_tuning",
    "prompt_oriented_fine_tuning",
    "prompt_tuning",
]

# Files of this folder that are no methods.
SHARED = frozenset(
    {
        "base", "calibration", "demonstrations", "distilled", "ensemble", "material", "pattern", "prefix",
        "rendering", "reparameterised", "several", "soft", "template", "text_classifier", "verbalizer",
    }
)  # fmt: skip
