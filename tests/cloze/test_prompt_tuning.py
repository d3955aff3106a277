"""Soft tokens in a template, their start, and a linear layer that reads the class."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import vlprompt as vp
from tests.cloze import texts
from tests.cloze.texts import KINDS, TEMPLATE, shuffled
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import HardPrompt, HardPromptConfig, PromptTuning, PromptTuningConfig
from vlprompt.errors import UsageError, VlpromptError

Make = Callable[[str], LanguageModel]
CLASSES, WORDS = ("no", "yes"), (("bad",), ("good", "great"))
TEXTS, LABELS = ("the film was great .", "i saw the story", "the actor was dull", "it"), (1, 0, 0, 1)
BATCH = texts.batch(*TEXTS, labels=LABELS)
TRAIN = vp.TrainConfig(epochs=30, batch_size=4, lr=0.05, optimizer="adamw", schedule="constant", warmup="none")
HEAD = PromptTuningConfig(TEMPLATE, WORDS, length=3, init="normal", readout="head")


@pytest.mark.parametrize("name", KINDS)
def test_soft_tokens_from_words_are_the_hard_prompt(name: str, tiny_lm: Make) -> None:
    hard = HardPrompt(tiny_lm(name), CLASSES, HardPromptConfig(TEMPLATE, WORDS))
    soft = PromptTuning(tiny_lm(name), CLASSES, PromptTuningConfig("{text} {soft:it was} {mask}", WORDS))
    torch.testing.assert_close(soft.predict(BATCH), hard.predict(BATCH), rtol=0, atol=1e-5)


def test_a_prompt_starts_from_another_tasks(tiny_lm: Make, tmp_path: Path) -> None:
    lm = tiny_lm("bert")
    first = PromptTuning(lm, CLASSES, PromptTuningConfig(words=WORDS, length=4, init="uniform"), seed=3)
    first.save(tmp_path)
    config = PromptTuningConfig(words=WORDS, length=4, init="file", init_file=str(tmp_path))
    assert torch.equal(PromptTuning(lm, CLASSES, config).tokens, first.tokens)
    assert torch.equal(first.soft_tokens()["tokens"], first.tokens)
    with pytest.raises(VlpromptError, match=r"holds no prompt of shape \(5, 32\), only tokens \(4, 32\)"):
        PromptTuning(lm, CLASSES, replace(config, length=5))


def test_tokens_follow_the_start_token_or_are_where_the_template_has_them(tiny_lm: Make) -> None:
    lm = tiny_lm("bert")
    front = PromptTuning(lm, CLASSES, PromptTuningConfig(TEMPLATE, WORDS, length=2))
    assert front.sequences(BATCH).slots[0, :4].tolist() == [-1, 0, 1, -1]
    inside = PromptTuning(lm, CLASSES, PromptTuningConfig("{text} {soft:3} {mask}", WORDS, length=2))
    assert len(inside.tokens) == 3
    assert inside.sequences(BATCH).slots[3, :6].tolist() == [-1, -1, 0, 1, 2, -1]


def test_a_causal_models_trained_position_is_the_one_that_is_read(tiny_lm: Make) -> None:
    learner = PromptTuning(tiny_lm("gpt2"), CLASSES, PromptTuningConfig(words=WORDS, length=4))
    before = learner.loss(BATCH)
    vp.fit(learner, shuffled(TEXTS, LABELS), TRAIN)
    assert learner.loss(BATCH) < before / 2
    assert (learner.predict(BATCH).argmax(1) == BATCH.labels).all()


@pytest.mark.parametrize("name", KINDS)
def test_a_linear_layer_reads_the_first_token_next_to_soft_tokens(name: str, tiny_lm: Make, tmp_path: Path) -> None:
    lm = tiny_lm(name)
    learner = PromptTuning(lm, CLASSES, HEAD)
    assert learner.config.template == "{soft:3} {text}"
    assert isinstance(learner.head, nn.Linear)
    assert list(learner.trainable()) == ["tokens", "head.weight", "head.bias"]
    if name == "bert":
        rows = learner.sequences(BATCH)
        words = lm.model.get_input_embeddings()(rows.ids)
        words[rows.slots >= 0] = learner.tokens.detach().repeat(len(rows), 1)
        states = lm.model.base_model(inputs_embeds=words, attention_mask=rows.mask).last_hidden_state
        assert rows.slots[0, :5].tolist() == [-1, 0, 1, 2, -1], "[CLS] stays first"
        torch.testing.assert_close(learner(BATCH), learner.head(states[:, 0]), rtol=0, atol=1e-5)
    before = learner.loss(BATCH).detach()
    vp.fit(learner, shuffled(TEXTS, LABELS), TRAIN)
    assert learner.loss(BATCH) < before / 2
    assert learner.why_classes_fixed == "its head has a row for each class; train with readout='words'"
    learner.save(tmp_path)
    assert torch.equal(vp.load(tmp_path, lm).predict(BATCH), learner.predict(BATCH))


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_the_released_codes_quirk_embeds_words_twice(name: str, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    right, wrong = (PromptTuning(lm, CLASSES, replace(HEAD, reference_quirks=quirks)) for quirks in (False, True))
    assert (right.predict(BATCH) - wrong.predict(BATCH)).abs().max() > 1e-3
    rows = wrong.sequences(BATCH)
    for number in range(len(TEXTS)):
        ids = rows.ids[number][(rows.slots[number] < 0) & rows.mask[number].bool()][None]  # without padding
        once = lm.model.base_model.embeddings(input_ids=ids)
        embeddings = torch.cat([once[:, :1], wrong.tokens.detach()[None], once[:, 1:]], dim=1)
        state = lm.model.base_model(inputs_embeds=embeddings).last_hidden_state[:, 0]
        torch.testing.assert_close(wrong.predict(BATCH)[number], wrong.head(state)[0], rtol=0, atol=1e-5)
    with pytest.raises(UsageError, match="no embedding layer of its own; use reference_quirks with a BERT"):
        PromptTuning(tiny_lm("gpt2"), CLASSES, replace(HEAD, reference_quirks=True))
