"""fit inside another training: methods that train models of their own call the same loop."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

import vlprompt as vp
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze.prompt_tuning import PromptTuning, PromptTuningConfig
from vlprompt.data.batches import text_batches
from vlprompt.errors import VlpromptError

ROWS = [vp.Example(vp.Text.of(text=f"the {noun} was {word}"), label)
        for noun in ("film", "story", "actor") for label, word in enumerate(("bad", "good"))]  # fmt: skip
TRAIN = vp.TrainConfig(
    epochs=9, steps=7, batch_size=2, lr=0.01, optimizer="adamw", schedule="linear", per_step=True, clip_norm=1.0
)


def prompt(tiny_lm: Callable[[str], LanguageModel]) -> PromptTuning:
    return PromptTuning(tiny_lm("bert"), ("bad", "good"), PromptTuningConfig(length=3), seed=1)


def test_gradients_are_recorded_wherever_fit_is_called(tiny_lm: Callable[[str], LanguageModel]) -> None:
    data = text_batches(ROWS, batch_size=2, seed=3)
    one, other = prompt(tiny_lm), prompt(tiny_lm)
    start = one.tokens.detach().clone()
    vp.fit(one, data, TRAIN)
    with torch.no_grad():
        vp.fit(other, data, TRAIN)
    assert torch.equal(one.tokens, other.tokens)
    assert not torch.equal(one.tokens, start)
    assert not other.training


def test_a_loss_that_is_not_finite_stops_it(tiny_lm: Callable[[str], LanguageModel]) -> None:
    learner = prompt(tiny_lm)
    with torch.no_grad():
        learner.tokens.fill_(torch.nan)
    with pytest.raises(VlpromptError, match="the loss is nan at epoch 1, step 1"):
        vp.fit(learner, text_batches(ROWS, batch_size=2), replace(TRAIN, steps=0))
