"""A hard prompt's scores are those of the model's own forward; calibration is the paper's equation."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import vlprompt as vp
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import HardPrompt, HardPromptConfig
from vlprompt.data import Batch, Text
from vlprompt.errors import UsageError

Make = Callable[[str], LanguageModel]
TEXTS = ("the film was great .", "i saw the story", "it")
WORDS = (("terrible", "bad"), ("great",))
BLANK = {"bert": " [MASK]", "roberta": "<mask>", "gpt2": "", "t5": "<extra_id_0>"}


def batch(*texts: str) -> Batch:
    return Batch(torch.zeros(len(texts)).long(), torch.arange(len(texts)), texts=tuple(Text.of(text=t) for t in texts))


def vocabulary_scores(lm: LanguageModel, name: str, text: str) -> Tensor:
    """(V,) by the library alone: one filled sentence, ids, its blank."""
    ids = [*lm.vocabulary.lead, *lm.vocabulary.pieces(text), *lm.vocabulary.pieces(" it was")]
    ids = torch.tensor([[*ids, *([] if name == "gpt2" else [lm.vocabulary.blank]), *lm.vocabulary.tail]])
    with torch.no_grad():
        if name == "t5":
            return lm.model(input_ids=ids, decoder_input_ids=torch.tensor([[0, lm.vocabulary.blank]])).logits[0, 1]
        return lm.model(input_ids=ids).logits[0, ids.shape[1] - len(lm.vocabulary.tail) - 1]


def label_logits(lm: LanguageModel, found: Tensor) -> list[Tensor]:
    return [found[[lm.vocabulary.pieces(" " + word)[0] for word in own]].double() for own in WORDS]


@pytest.mark.parametrize("name", BLANK)
def test_scores_are_the_mean_logits_at_the_blank(name: str, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    learner = HardPrompt(lm, ["no", "yes"], HardPromptConfig(template="{text} it was {mask}", words=WORDS))
    wanted = [[each.mean() for each in label_logits(lm, vocabulary_scores(lm, name, t))] for t in TEXTS]
    torch.testing.assert_close(
        learner.predict(batch(*TEXTS)).double(), torch.tensor(wanted).double(), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("name", BLANK)
def test_calibration_divides_by_what_nothing_scores(name: str, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    config = HardPromptConfig(
        "{text} it was {mask}", WORDS, "logsumexp", calibrate="contextual", content_free=("the", "")
    )
    learner = HardPrompt(lm, ["no", "yes"], config)

    def probabilities(text: str) -> Tensor:
        every = vocabulary_scores(lm, name, text).double().softmax(0).log()
        return torch.stack([each.exp().sum() for each in label_logits(lm, every)])

    prior = probabilities("the") + probabilities("")
    prior = prior / prior.sum()
    for text in TEXTS:
        q = probabilities(text) / probabilities(text).sum() / prior
        found = learner.predict(batch(text)).double().softmax(1)[0]
        torch.testing.assert_close(found, q / q.sum(), rtol=1e-4, atol=1e-5)


def test_openprompts_calibration_divides_words(tiny_lm: Make) -> None:
    lm = tiny_lm("bert")
    config = HardPromptConfig("{text} it was {mask}", WORDS, "mean_log_prob", calibrate="words", content_free=("",))
    learner = HardPrompt(lm, ["no", "yes"], config)
    empty = torch.cat(label_logits(lm, vocabulary_scores(lm, "bert", ""))).softmax(0)
    words = torch.cat(label_logits(lm, vocabulary_scores(lm, "bert", TEXTS[0]))).softmax(0) / empty
    words = (words / words.sum()).log()
    found = learner.predict(batch(TEXTS[0])).double()[0]
    torch.testing.assert_close(found, torch.stack([words[:2].mean(), words[2]]), rtol=0, atol=1e-5)


def test_the_prior_follows_the_words(tiny_lm: Make) -> None:
    lm = tiny_lm("bert")
    config = HardPromptConfig("{text} it was {mask}", (("bad",), ("good",)), calibrate="contextual")
    learner, other = HardPrompt(lm, ["a", "b"], config), HardPrompt(lm, ["a", "b"], replace(config, words=WORDS))
    learner.predict(batch(TEXTS[0]))
    task = vp.Task("other", ("c", "d"), ("{text} {mask}",), words=WORDS)
    learner.begin_task(task)
    assert torch.equal(learner.predict(batch(*TEXTS)), other.predict(batch(*TEXTS)))


def test_words_and_template_come_from_the_task_unless_they_are_set(tiny_lm: Make) -> None:
    task = vp.Task("made", ("no", "yes"), ("{text} it was {mask} .",), words=WORDS)
    learner = HardPrompt.for_task(tiny_lm("bert"), task, HardPromptConfig())
    assert (learner.config.template, learner.config.words) == ("{text} it was {mask} .", WORDS)
    own = HardPrompt.for_task(tiny_lm("bert"), task, HardPromptConfig(template="{mask} {text}", words=WORDS[::-1]))
    assert (own.config.template, own.config.words) == ("{mask} {text}", WORDS[::-1])
    bare = HardPrompt(tiny_lm("bert"), ["bad", "good"])
    assert (bare.config.template, bare.config.words) == ("{text} {mask}", (("bad",), ("good",)))


def test_classes_that_are_no_words_are_refused_and_the_old_ones_stay(tiny_lm: Make) -> None:
    learner = HardPrompt(tiny_lm("bert"), ["bad", "good"])
    before = learner.predict(batch(*TEXTS))
    with pytest.raises(UsageError, match="label word ' greatly' of class 'greatly' is"):
        learner.set_classes(["greatly", "good"])
    assert learner.classes == ("bad", "good")
    assert torch.equal(learner.predict(batch(*TEXTS)), before)


def test_it_names_what_texts_are(tiny_lm: Make) -> None:
    learner = HardPrompt(tiny_lm("bert"), ["bad", "good"])
    one, other = learner.classify(["the film was great", {"text": "the film was dull"}], batch_size=1)
    assert one.label in ("bad", "good")
    assert sum(other.probabilities.values()) == pytest.approx(1)
    with pytest.raises(UsageError, match="unknown slot 'text'"):
        learner.classify([{"sentence": "it"}])


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"rule": "mean"}, "unknown rule 'mean'; did you mean 'mean_logit'"),
        ({"pieces": "firsts"}, "did you mean 'first'"),
        ({"calibrate": "context"}, "did you mean 'contextual'"),
        ({"template": "{text} {mask"}, "column 8"),
    ],
)
def test_settings_are_checked_when_they_are_made(config: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        HardPromptConfig(**config)  # type: ignore[arg-type]
