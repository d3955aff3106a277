"""Class vectors at the blank start as the label words and are trained as logistic regression is."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import vlprompt as vp
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import HardPrompt, HardPromptConfig, SoftVerbalizer, SoftVerbalizerConfig, TextLinear
from vlprompt.cloze.text_linear import TextLinearConfig
from vlprompt.data import Batch, FeatureStore
from vlprompt.errors import UsageError

Make = Callable[..., LanguageModel]
TEMPLATE, WORDS = "{text} it was {mask}", (("bad", "dull"), ("good",))
TEXTS = ("the film was great .", "i saw the story", "it", "the actor was awful and i left")
PLAIN = {"schedule": "constant", "warmup": "none", "augment": "none"}


def batch() -> Batch:
    held = Batch.of_texts(TEXTS)
    return Batch(torch.tensor([1, 0, 0, 1]), held.index, texts=held.texts)


def task() -> vp.Task:
    rows = tuple(vp.Example(vp.Text.of(text=text), number % 2) for number, text in enumerate(TEXTS))
    return vp.Task("made", ("no", "yes"), (TEMPLATE,), rows, (), rows, words=WORDS)


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "t5"])
def test_untrained_it_is_the_hard_prompt(name: str, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    hard = HardPrompt(lm, ("no", "yes"), HardPromptConfig(TEMPLATE, WORDS))
    soft = SoftVerbalizer(lm, ("no", "yes"), SoftVerbalizerConfig(TEMPLATE, WORDS))
    torch.testing.assert_close(soft.predict(batch()), hard.predict(batch()), rtol=0, atol=2e-5)


@pytest.mark.parametrize("pieces", ["first", "mean"])
def test_words_of_several_pieces_start_as_the_hard_prompt_reads_them(pieces: str, tiny_lm: Make) -> None:
    words = (("greatly", "bad"), ("good",))
    hard, soft = (
        kind(tiny_lm("bert"), ("no", "yes"), config(TEMPLATE, words, pieces=pieces))
        for kind, config in ((HardPrompt, HardPromptConfig), (SoftVerbalizer, SoftVerbalizerConfig))
    )
    torch.testing.assert_close(soft.predict(batch()), hard.predict(batch()), rtol=0, atol=2e-5)
    with pytest.raises(UsageError, match="pieces='max' has none; use first or mean"):
        SoftVerbalizerConfig(TEMPLATE, words, pieces="max")


def test_a_step_is_that_of_logistic_regression(tiny_lm: Make) -> None:
    learner = SoftVerbalizer(tiny_lm("bert"), ("no", "yes"), SoftVerbalizerConfig(TEMPLATE, WORDS))
    learner.backward(batch())
    states, labels = learner.states(batch()).double(), batch().labels
    scores = states @ learner.vectors.detach().double().T + learner.bias.detach().double()
    wrong = (scores.softmax(1) - torch.nn.functional.one_hot(labels, 2)) / len(labels)  # (B, C)
    torch.testing.assert_close(learner.vectors.grad.double(), wrong.T @ states, rtol=1e-4, atol=1e-5)  # type: ignore[union-attr]
    torch.testing.assert_close(learner.bias.grad.double(), wrong.sum(0), rtol=1e-4, atol=1e-5)  # type: ignore[union-attr]


def test_classes_need_no_words_where_it_starts_from_noise(tiny_lm: Make, tmp_path: Path) -> None:
    lm, names = tiny_lm("bert"), ("utterly unheard of", "also unheard of")
    with pytest.raises(UsageError, match="label word"):
        SoftVerbalizer(lm, names, SoftVerbalizerConfig(TEMPLATE))
    learner = SoftVerbalizer(lm, names, SoftVerbalizerConfig(TEMPLATE, init="normal"), seed=3)
    config = vp.TrainConfig(epochs=60, batch_size=4, lr=0.05, optimizer="adamw", **PLAIN)
    store = FeatureStore(tmp_path)
    renamed = replace(task(), classes=names)
    vp.fit(learner, renamed, config, store=store)
    assert vp.evaluate(learner, renamed, store=store).metrics["top1"] == 1
    with pytest.raises(UsageError, match="it has learned a vector for each class"):
        learner.set_classes(["bad", "good"])
    with pytest.raises(UsageError, match="did you mean 'normal'"):
        SoftVerbalizerConfig(init="norm")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "t5"])
def test_a_linear_probe_reads_the_state_it_names(name: str, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    first = TextLinear.for_task(lm, task(), TextLinearConfig())
    assert first.config.template == "{text}", "words of the template play no part"
    states = first.text_encoder(list(batch().texts or ()))
    for text, state in zip(TEXTS, states, strict=True):
        ids = torch.tensor([[*lm.vocabulary.lead, *lm.vocabulary.pieces(text), *lm.vocabulary.tail * (name != "gpt2")]])
        with torch.no_grad():
            if name == "t5":  # its head reads the decoder's last state, scaled where the head is tied to the words
                decoder, scale = torch.tensor([[0, lm.vocabulary.blank]]), lm.model.config.scale_decoder_outputs
                kept = lm.model(input_ids=ids, decoder_input_ids=decoder, output_hidden_states=True)
                found = kept.decoder_hidden_states[-1][0, 1] * (lm.model.config.d_model**-0.5 if scale else 1)
            else:
                found = lm.model.base_model(input_ids=ids).last_hidden_state[0, -1 if name == "gpt2" else 0]
        torch.testing.assert_close(state, found, rtol=0, atol=2e-5)
    blank = TextLinear.for_task(lm, task(), TextLinearConfig(at="blank"))
    hard = HardPrompt.for_task(lm, task(), HardPromptConfig())
    assert torch.equal(blank.states(batch()), hard.states(batch()))
    with pytest.raises(UsageError, match="did you mean 'first'"):
        TextLinearConfig(at="frist")  # type: ignore[arg-type]
