"""The encoder of a prompt is dropped after training without any change of the scores."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import vlprompt as vp
from tests.cloze.texts import TEMPLATE, batch, shuffled
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import (
    PrefixTuning,
    PrefixTuningConfig,
    PTuning,
    PTuningConfig,
    PTuningV2,
    PTuningV2Config,
)

TEXTS = ("the film was great .", "i saw the story", "the actor was dull", "it")
TRAIN = vp.TrainConfig(epochs=4, batch_size=4, lr=1e-2, optimizer="adamw", schedule="constant", warmup="none")
METHODS: list[tuple[type, Any]] = [
    (PTuning, PTuningConfig(length=3)),
    (PrefixTuning, PrefixTuningConfig(length=3, middle=8)),
    (PTuningV2, PTuningV2Config(length=3, middle=8, readout="words")),
]


@pytest.mark.parametrize(("kind", "config"), METHODS)
@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2"])
def test_the_encoder_is_dropped_after_training(
    kind: Any, config: Any, name: str, tiny_lm: Callable[[str], LanguageModel], tmp_path: Path
) -> None:
    lm, test = tiny_lm(name), batch(*TEXTS)
    learner = kind(lm, ("no", "yes"), replace(config, template=TEMPLATE, words=(("bad",), ("good", "great"))))
    before: list[torch.Tensor] = []
    drop = learner.prompt.drop

    def predict_and_drop() -> None:
        learner.eval()
        before.append(learner.predict(test))
        drop()

    learner.prompt.drop = predict_and_drop
    vp.fit(learner, shuffled(TEXTS, (1, 0, 0, 1)), TRAIN)
    del learner.prompt.drop
    assert list(learner.trainable()) == ["prompt.value"]
    torch.testing.assert_close(learner.predict(test), before[0], rtol=0, atol=1e-6)
    learner.save(tmp_path)
    assert torch.equal(vp.load(tmp_path, lm).predict(test), learner.predict(test))
