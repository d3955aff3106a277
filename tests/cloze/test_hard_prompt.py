"""A hard prompt's scores are those of the model's own forward; calibration is the paper's equation."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import vlprompt as vp
from tests.cloze.texts import KINDS, TEMPLATE, batch, first_pieces, own_scores
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import HardPrompt, HardPromptConfig
from vlprompt.errors import UsageError

Make = Callable[[str], LanguageModel]
TEXTS = ("the film was great .", "i saw the story", "it")
WORDS = (("terrible", "bad"), ("great",))


def label_logits(lm: LanguageModel, text: str) -> list[Tensor]:
    """Logits of each class's label words by the library alone."""
    scores = own_scores(lm, text).double()
    return [scores[own] for own in first_pieces(lm, WORDS)]


@pytest.mark.parametrize("name", KINDS)
def test_scores_are_the_mean_logits_at_the_blank(name: str, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    learner = HardPrompt(lm, ["no", "yes"], HardPromptConfig(TEMPLATE, WORDS))
    wanted = torch.stack([torch.stack([each.mean() for each in label_logits(lm, text)]) for text in TEXTS])
    torch.testing.assert_close(learner.predict(batch(*TEXTS)).double(), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_calibration_divides_by_content_free_scores(name: str, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    config = HardPromptConfig(TEMPLATE, WORDS, "logsumexp", calibrate="contextual", content_free=("the", ""))
    learner = HardPrompt(lm, ["no", "yes"], config)

    def probabilities(text: str) -> Tensor:
        every = own_scores(lm, text).double().softmax(0)
        return torch.stack([every[own].sum() for own in first_pieces(lm, WORDS)])

    prior = probabilities("the") + probabilities("")
    prior = prior / prior.sum()
    for text in TEXTS:
        q = probabilities(text) / probabilities(text).sum() / prior
        scores = learner.predict(batch(text)).double().softmax(1)[0]
        torch.testing.assert_close(scores, q / q.sum(), rtol=1e-4, atol=1e-5)


def test_openprompts_calibration_divides_words(tiny_lm: Make) -> None:
    lm = tiny_lm("bert")
    config = HardPromptConfig(TEMPLATE, WORDS, "mean_log_prob", calibrate="words", content_free=("",))
    learner = HardPrompt(lm, ["no", "yes"], config)
    empty = torch.cat(label_logits(lm, "")).softmax(0)
    words = torch.cat(label_logits(lm, TEXTS[0])).softmax(0) / empty
    words = (words / words.sum()).log()
    scores = learner.predict(batch(TEXTS[0])).double()[0]
    torch.testing.assert_close(scores, torch.stack([words[:2].mean(), words[2]]), rtol=0, atol=1e-5)


def test_the_prior_follows_the_words(tiny_lm: Make) -> None:
    lm = tiny_lm("bert")
    config = HardPromptConfig(TEMPLATE, (("bad",), ("good",)), calibrate="contextual")
    learner, other = HardPrompt(lm, ["a", "b"], config), HardPrompt(lm, ["a", "b"], replace(config, words=WORDS))
    learner.predict(batch(TEXTS[0]))
    learner.begin_task(vp.Task("other", ("c", "d"), ("{text} {mask}",), words=WORDS))
    assert torch.equal(learner.predict(batch(*TEXTS)), other.predict(batch(*TEXTS)))


def test_words_and_template_come_from_the_task_unless_they_are_set(tiny_lm: Make) -> None:
    task = vp.Task("opinions", ("no", "yes"), ("{text} it was {mask} .",), words=WORDS)
    learner = HardPrompt.for_task(tiny_lm("bert"), task, HardPromptConfig())
    assert (learner.config.template, learner.config.words) == ("{text} it was {mask} .", WORDS)
    own = HardPrompt.for_task(tiny_lm("bert"), task, HardPromptConfig(template="{mask} {text}", words=WORDS[::-1]))
    assert (own.config.template, own.config.words) == ("{mask} {text}", WORDS[::-1])
    bare = HardPrompt(tiny_lm("bert"), ["bad", "good"])
    assert (bare.config.template, bare.config.words) == ("{text} {mask}", (("bad",), ("good",)))


def test_classes_without_a_word_are_refused_and_the_old_ones_stay(tiny_lm: Make) -> None:
    learner = HardPrompt(tiny_lm("bert"), ["bad", "good"])
    before = learner.predict(batch(*TEXTS))
    with pytest.raises(UsageError, match="label word ' greatly' of class 'greatly' is"):
        learner.set_classes(["greatly", "good"])
    assert learner.classes == ("bad", "good")
    assert torch.equal(learner.predict(batch(*TEXTS)), before)


def test_it_classifies_texts(tiny_lm: Make) -> None:
    learner = HardPrompt(tiny_lm("bert"), ["bad", "good"])
    one, other = learner.classify(["the film was great", {"text": "the film was dull"}], batch_size=1)
    assert one.label in ("bad", "good")
    assert sum(other.probabilities.values()) == pytest.approx(1)
    with pytest.raises(UsageError, match="unknown slot 'text'"):
        learner.classify([{"sentence": "it"}])
    renamed = HardPrompt(tiny_lm("bert"), ["bad", "good"], HardPromptConfig("{sentence} {mask}"))
    assert renamed.classify(["it"]) == renamed.classify([{"sentence": "it"}]), "a string is the template's first field"
