"""Label words of several pieces: their probabilities, computed piece by piece and text by text."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import vlprompt as vp
from tests.cloze import texts
from tests.cloze.texts import TEMPLATE, shuffled
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import (
    HardPrompt,
    HardPromptConfig,
    PromptOrientedFineTuning,
    PromptOrientedFineTuningConfig,
    PromptTuning,
    PromptTuningConfig,
)
from vlprompt.cloze.parts.multi_token import hinge_loss
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError

Make = Callable[[str], LanguageModel]
TEXTS, LABELS = ("the film was great .", "i saw the story", "it"), (0, 1, 1)
WORDS = (("goodly", "bad"), ("great film",))  # one piece, or several


def batch() -> Batch:
    """The texts and their labels."""
    return texts.batch(*TEXTS, labels=LABELS)


def log_probs(lm: LanguageModel, ids: list[int], answer: list[int], place: int) -> Tensor:
    """(V,) by the library alone."""
    with torch.no_grad():
        if lm.kind == "encoder-decoder":
            decoder = torch.tensor([[0, lm.vocabulary.blank, *answer]])
            return lm.model(input_ids=torch.tensor([ids]), decoder_input_ids=decoder).logits[0, -1].log_softmax(-1)
        return lm.model(input_ids=torch.tensor([[*ids, *answer]])).logits[0, place].log_softmax(-1)


def start_of(lm: LanguageModel, text: str) -> list[int]:
    return [*lm.vocabulary.lead, *lm.vocabulary.pieces(text), *lm.vocabulary.pieces(" it was")]


def piece_log_probs(lm: LanguageModel, text: str, word: str) -> list[float]:
    """log p of each piece given those before it."""
    ids, pieces = start_of(lm, text), lm.vocabulary.pieces(" " + word)
    if lm.kind == "encoder-decoder":
        ids = [*ids, lm.vocabulary.blank, *lm.vocabulary.tail]
    return [float(log_probs(lm, ids, pieces[:n], -1)[piece]) for n, piece in enumerate(pieces)]


def filled(lm: LanguageModel, text: str, word: str, order: str, blanks: int = 0) -> list[float]:
    """log p of each piece, in the order in which blanks are filled."""
    pieces, start = lm.vocabulary.pieces(" " + word), start_of(lm, text)
    assert lm.vocabulary.blank is not None
    held = [lm.vocabulary.blank] * (blanks or len(pieces))
    left, log_p = list(range(len(pieces))), []
    while left:
        ids = [*start, *held, *lm.vocabulary.tail]
        each = {n: float(log_probs(lm, ids, [], len(start) + n)[pieces[n]]) for n in left}
        chosen = max(left, key=lambda n: each[n]) if order == "masks" else left[0]
        if order != "masks_parallel":
            held[chosen] = pieces[chosen]
        log_p.append(each[chosen])
        left.remove(chosen)
    return log_p


def classes(words: dict[str, float]) -> list[float]:
    """The mean over each class's words."""
    return [sum(words[word] for word in own) / len(own) for own in WORDS]


@pytest.mark.parametrize("pieces", ["left_to_right", "left_to_right_mean"])
@pytest.mark.parametrize("name", ["gpt2", "t5"])
def test_a_causal_model_or_a_decoder_generates_a_word_piece_by_piece(name: str, pieces: Any, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    assert max(len(lm.vocabulary.pieces(" " + word)) for own in WORDS for word in own) > 1
    learner = HardPrompt(lm, ("a", "b"), HardPromptConfig(TEMPLATE, WORDS, pieces=pieces))
    for text, scores in zip(TEXTS, learner.predict(batch()), strict=True):
        each = {word: piece_log_probs(lm, text, word) for own in WORDS for word in own}
        by = {word: sum(p) / (len(p) if pieces == "left_to_right_mean" else 1) for word, p in each.items()}
        torch.testing.assert_close(scores, torch.tensor(classes(by)), rtol=1e-5, atol=1e-4)


def test_words_of_one_piece_have_the_softmax_of_a_single_blank(tiny_lm: Make) -> None:
    words = (("bad", "poor"), ("good",))
    for name, pieces in (("gpt2", "left_to_right"), ("bert", "masks")):
        one = HardPrompt(tiny_lm(name), ("a", "b"), HardPromptConfig(TEMPLATE, words))
        other = HardPrompt(tiny_lm(name), ("a", "b"), HardPromptConfig(TEMPLATE, words, pieces=pieces))
        scores, wanted = (each.predict(batch()).softmax(1) for each in (other, one))
        torch.testing.assert_close(scores, wanted)


@pytest.mark.parametrize("pieces", ["masks", "masks_ltr", "masks_parallel"])
@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_a_masked_model_fills_as_many_blanks_as_a_word_has_pieces(name: str, pieces: Any, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    learner = HardPrompt(lm, ("a", "b"), HardPromptConfig(TEMPLATE, WORDS, pieces=pieces))
    for text, scores in zip(TEXTS, learner.predict(batch()), strict=True):
        by = {word: sum(filled(lm, text, word, pieces)) for own in WORDS for word in own}
        torch.testing.assert_close(scores, torch.tensor(classes(by)), rtol=1e-5, atol=1e-4)


def test_several_blanks_are_trained_by_pets_hinge_loss(tiny_lm: Make) -> None:
    """Each text alone, independent of the others in its batch."""
    lm = tiny_lm("bert")
    learner = HardPrompt(lm, ("a", "b"), HardPromptConfig(TEMPLATE, WORDS, pieces="masks"))
    longest = max(len(lm.vocabulary.pieces(" " + word)) for own in WORDS for word in own)
    expected = []
    for text, label in zip(TEXTS, LABELS, strict=True):
        each = {word: filled(lm, text, word, "masks_parallel", longest) for own in WORDS for word in own}
        scores = classes({word: sum(p) for word, p in each.items()})
        expected.append(max(0.0, 1 - scores[label] + scores[1 - label]))
    assert float(learner.loss(batch())) == pytest.approx(sum(expected) / 3, rel=1e-4, abs=1e-5)
    three = hinge_loss(torch.tensor([[0.5, 0.0, 0.4]]), torch.tensor([0]))
    assert float(three) == pytest.approx(0.5 + 0.9)


@pytest.mark.parametrize(("name", "pieces"), [("bert", "masks"), ("gpt2", "left_to_right"), ("t5", "left_to_right")])
def test_prompts_and_models_are_trained_with_them(name: str, pieces: Any, tiny_lm: Make) -> None:
    config = vp.TrainConfig(epochs=15, batch_size=3, lr=0.01, optimizer="adamw", schedule="constant", warmup="none")
    soft = PromptTuningConfig(TEMPLATE, WORDS, pieces=pieces, length=3)
    whole = PromptOrientedFineTuningConfig(TEMPLATE, WORDS, pieces=pieces)
    lm, names = tiny_lm(name), ("a", "b")
    for learner in (PromptTuning(lm, names, soft), PromptOrientedFineTuning(lm, names, whole)):
        before = float(learner.loss(batch()).detach())
        losses = vp.fit(learner, shuffled(TEXTS, LABELS), config).losses
        assert min(losses) < before or before == 0


@pytest.mark.parametrize(
    ("name", "pieces", "message"),
    [
        ("gpt2", "masks", "pieces='masks' needs a masked model, tiny gpt2 is causal; use pieces='left_to_right'"),
        ("t5", "masks_ltr", "pieces='masks_ltr' needs a masked model, tiny t5 is encoder-decoder"),
        ("bert", "left_to_right", "needs a causal or encoder-decoder model, tiny bert is masked; use pieces='masks'"),
    ],
)
def test_rules_that_a_model_does_not_have_are_refused(name: str, pieces: Any, message: str, tiny_lm: Make) -> None:
    with pytest.raises(UsageError, match=message):
        HardPrompt(tiny_lm(name), ("a", "b"), HardPromptConfig(TEMPLATE, WORDS, pieces=pieces))


def test_the_error_of_a_long_word_names_the_rules(tiny_lm: Make) -> None:
    with pytest.raises(UsageError, match=r"pieces='masks' \(all of them\), 'first', 'mean' or 'max'"):
        HardPrompt(tiny_lm("bert"), ("a", "b"), HardPromptConfig(TEMPLATE, WORDS))
    with pytest.raises(UsageError, match="pieces='left_to_right'"):
        HardPrompt(tiny_lm("gpt2"), ("a", "b"), HardPromptConfig(TEMPLATE, WORDS))
