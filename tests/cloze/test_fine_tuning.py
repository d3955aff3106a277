"""Methods that train the whole model train a copy of it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import vlprompt as vp
from tests.cloze import texts
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import FineTuning, PromptOrientedFineTuning

TEXTS, LABELS = ("the film was great .", "i saw the story", "the actor was dull", "it"), (1, 0, 0, 1)
TRAIN = vp.TrainConfig(epochs=20, batch_size=4, lr=1e-2, optimizer="adamw", schedule="constant", warmup="none")


@pytest.mark.parametrize("kind", [FineTuning, PromptOrientedFineTuning])
@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_the_trained_model_is_a_copy_and_only_it_is_saved(
    name: str, kind: type[FineTuning], tiny_lm: Callable[[str], LanguageModel], tmp_path: Path
) -> None:
    lm, batch = tiny_lm(name), texts.batch(*TEXTS, labels=LABELS)
    before = {key: value.clone() for key, value in lm.model.state_dict().items()}
    learner = kind(lm, ("bad", "good"))
    first_loss = learner.eval().loss(batch).detach()
    vp.fit(learner, texts.shuffled(TEXTS, LABELS), TRAIN)
    assert learner.loss(batch) < first_loss
    assert all(torch.equal(before[key], value) for key, value in lm.model.state_dict().items())
    assert learner.saved_tensors().keys() == learner.trainable().keys(), "each once, nothing that is not trained"
    learner.save(tmp_path)
    assert torch.equal(vp.load(tmp_path, lm).predict(batch), learner.predict(batch))
