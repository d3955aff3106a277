"""Class vectors at the blank start as the label words and are trained as logistic regression is."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import vlprompt as vp
from tests.cloze import texts
from tests.cloze.texts import KINDS, TEMPLATE, examples
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import HardPrompt, HardPromptConfig, SoftVerbalizer, SoftVerbalizerConfig
from vlprompt.data.features import FeatureStore
from vlprompt.errors import UsageError

Make = Callable[..., LanguageModel]
CLASSES, WORDS = ("no", "yes"), (("bad", "dull"), ("good",))
TEXTS = ("the film was great .", "i saw the story", "it", "the actor was awful and i left")
BATCH = texts.batch(*TEXTS, labels=(1, 0, 0, 1))


@pytest.mark.parametrize("name", KINDS)
def test_untrained_it_is_the_hard_prompt(name: str, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    hard = HardPrompt(lm, CLASSES, HardPromptConfig(TEMPLATE, WORDS))
    soft = SoftVerbalizer(lm, CLASSES, SoftVerbalizerConfig(TEMPLATE, WORDS))
    torch.testing.assert_close(soft.predict(BATCH), hard.predict(BATCH), rtol=0, atol=2e-5)


@pytest.mark.parametrize("pieces", ["first", "mean"])
def test_words_of_several_pieces_start_as_the_hard_prompt_reads_them(pieces: str, tiny_lm: Make) -> None:
    words = (("greatly", "bad"), ("good",))
    hard, soft = (
        kind(tiny_lm("bert"), CLASSES, config(TEMPLATE, words, pieces=pieces))
        for kind, config in ((HardPrompt, HardPromptConfig), (SoftVerbalizer, SoftVerbalizerConfig))
    )
    torch.testing.assert_close(soft.predict(BATCH), hard.predict(BATCH), rtol=0, atol=2e-5)


def test_a_step_is_that_of_logistic_regression(tiny_lm: Make) -> None:
    learner = SoftVerbalizer(tiny_lm("bert"), CLASSES, SoftVerbalizerConfig(TEMPLATE, WORDS))
    learner.backward(BATCH)
    states, labels = learner.states(BATCH).double(), BATCH.labels
    scores = states @ learner.vectors.detach().double().T + learner.bias.detach().double()
    wrong = (scores.softmax(1) - torch.nn.functional.one_hot(labels, 2)) / len(labels)  # (B, C)
    torch.testing.assert_close(learner.vectors.grad.double(), wrong.T @ states, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(learner.bias.grad.double(), wrong.sum(0), rtol=1e-4, atol=1e-5)


def test_classes_need_no_words_where_it_starts_from_noise(tiny_lm: Make, tmp_path: Path) -> None:
    lm, names = tiny_lm("bert"), ("utterly unheard of", "also unheard of")
    with pytest.raises(UsageError, match="label word"):
        SoftVerbalizer(lm, names, SoftVerbalizerConfig(TEMPLATE))
    learner = SoftVerbalizer(lm, names, SoftVerbalizerConfig(TEMPLATE, init="normal"), seed=3)
    rows = examples(TEXTS, (0, 1, 0, 1))
    task, store = vp.Task("opinions", names, (TEMPLATE,), rows, (), rows, words=WORDS), FeatureStore(tmp_path)
    vp.fit(learner, task, replace(vp.cloze.soft_verbalizer.RECIPE, epochs=60, lr=0.05, clip_norm=0), store=store)
    assert vp.evaluate(learner, task, store=store).metrics["top1"] == 1
    with pytest.raises(UsageError, match="it has learned a vector for each class"):
        learner.set_classes(["bad", "good"])
