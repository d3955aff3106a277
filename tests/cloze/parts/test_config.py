"""The settings of text methods are checked when they are created."""

from typing import Any

import pytest

from vlprompt import cloze
from vlprompt.errors import UsageError


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        ("HardPrompt", {"rule": "mean"}, "unknown rule 'mean'; did you mean 'mean_logit'"),
        ("HardPrompt", {"pieces": "firsts"}, "did you mean 'first'"),
        ("HardPrompt", {"calibrate": "context"}, "did you mean 'contextual'"),
        ("HardPrompt", {"template": "{text} {mask"}, "column 8"),
        ("HardPrompt", {"calibrate": "contextual", "pieces": "masks"}, "calibrate 'contextual' reads one blank"),
        ("LabelWords", {"search": "lm-bf"}, "did you mean 'lm-bff'"),
        ("LabelWords", {"candidates": 0}, "candidates is 0; it must be 1 or more"),
        ("LabelWords", {"count": 2}, "finds one word a class, use search='avs'"),
        ("AutoPrompt", {"candidates": 0}, "candidates is 0; it must be 1 or more"),
        ("InContext", {"place": "top"}, "unknown place 'top'"),
        ("InContext", {"samples": 0}, "samples is 0; it must be 1 or more"),
        ("InContext", {"share": 1.0}, "share is 1.0; it must be above 0 and below 1"),
        ("PET", {"patterns": ("{text} it",)}, r"no \{mask\}"),
        ("IPET", {"patterns": ("{text} it",)}, r"no \{mask\}"),
        ("PET", {"reduction": "max"}, "unknown reduction 'max'"),
        ("PET", {"lr": 0.0}, "lr is 0.0; it must be above 0"),
        ("PET", {"alpha": float("nan")}, "alpha is nan; it must be 0 or more and at most 1"),
        ("IPET", {"growth": 0.5}, "growth is 0.5; it must be 1 or more"),
        ("PTuning", {"length": 0}, "length is 0; it must be 1 or more"),
        ("PTuningV2", {"dropout": 1.0}, "dropout is 1.0; it must be 0 or more and below 1"),
        ("PrefixTuning", {"middle": -1}, "middle is -1; it must be 0 or more"),
        ("PromptTuning", {"init": "text"}, "init 'text' needs the setting init_text"),
        ("PromptTuning", {"readout": "pooler"}, "unknown readout 'pooler'"),
        ("PromptTuning", {"reference_quirks": True}, "those of a linear layer's code; set readout='head'"),
        ("SoftVerbalizer", {"init": "norm"}, "did you mean 'normal'"),
        ("SoftVerbalizer", {"pieces": "max"}, "pieces='max' has none; use first or mean"),
        ("TextLinear", {"at": "frist"}, "unknown at 'frist'; did you mean 'first'"),
    ],
)
def test_settings_are_checked(config: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        getattr(cloze, f"{config}Config")(**settings)


def test_lists_become_tuples() -> None:
    config = cloze.PETConfig(words=[["bad"], ["good", "fine"]], patterns=["{text} {mask}"])
    assert config.words == (("bad",), ("good", "fine"))
    assert hash(config) == hash(cloze.PETConfig(words=(("bad",), ("good", "fine")), patterns=("{text} {mask}",)))
