"""The label words that are found are those that an exhaustive search, text by text, finds."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import vlprompt as vp
from tests.cloze.texts import TEMPLATE, examples, own_scores
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import HardPrompt, HardPromptConfig, LabelWords, LabelWordsConfig
from vlprompt.cloze.parts.word_search import usable_words
from vlprompt.data.features import FeatureStore
from vlprompt.errors import UsageError
from vlprompt.training.config import NO_TRAINING

Make = Callable[..., LanguageModel]
TEXTS = (
    ("the film was great .", "the story was good", "i liked it ."),
    ("the actor was awful .", "i left", "the music was dull and bad", "no"),
    ("a probe of the model", "maybe , maybe"),
)
CLASSES = ("one", "two", "three")


def task(classes: int = 3) -> vp.Task:
    """The first classes and their texts."""
    rows = [each for label, own in enumerate(TEXTS[:classes]) for each in examples(own, [label] * len(own))]
    return task_of(tuple(rows), classes=classes)


def task_of(train: tuple[vp.Example, ...], val: tuple[vp.Example, ...] = (), classes: int = 2) -> vp.Task:
    """A task that is tested on its training texts."""
    names = CLASSES[:classes]
    return vp.Task("texts", names, (TEMPLATE,), train, val, train, words=tuple((name,) for name in names))


def fitted(lm: LanguageModel, data: vp.Task, store: FeatureStore, **changes: Any) -> LabelWords:
    """A learner that has searched."""
    learner = LabelWords.for_task(lm, data, LabelWordsConfig(template=TEMPLATE, **changes))
    vp.fit(learner, data, NO_TRAINING, store=store)
    return learner


def logits(lm: LanguageModel, data: vp.Task) -> tuple[Tensor, list[int]]:
    """(N, V) by the library alone, and N labels."""
    rows = [own_scores(lm, example.item["text"]) for example in data.train]
    return torch.stack(rows).double(), [example.label for example in data.train]


def most_likely(scores: Tensor, labels: list[int], usable: list[int], label: int, count: int) -> list[int]:
    own = [row for row, own in zip(scores.log_softmax(1), labels, strict=True) if own == label]
    """The words with the highest mean log-probability on a class's texts."""
    return sorted(usable, key=lambda word: -sum(float(row[word]) for row in own))[:count]


def quality(scores: Tensor, labels: list[int], words: tuple[int, ...]) -> tuple[float, float]:
    """Accuracy and minus the mean cross-entropy, text by text."""
    right, loss = 0, 0.0
    for row, label in zip(scores, labels, strict=True):
        own = row[list(words)]
        right += int(own.argmax()) == label
        loss -= float(own.log_softmax(0)[label])
    return right / len(labels), -loss / len(labels)


@pytest.mark.parametrize("classes", [2, 3])
def test_lm_bff_is_the_best_of_all_combinations(classes: int, any_lm: LanguageModel, tmp_path: Path) -> None:
    data, usable = task(classes), usable_words(any_lm).tolist()
    own, labels = logits(any_lm, data)
    candidates = [most_likely(own, labels, usable, label, 6) for label in range(classes)]
    distinct = (words for words in itertools.product(*candidates) if len(set(words)) == classes)
    best = max(quality(own, labels, words) for words in distinct)
    learner = fitted(any_lm, data, FeatureStore(tmp_path), candidates=6)
    assert quality(own, labels, tuple(learner.ids[:, 0].tolist())) == pytest.approx(best)
    scores = vp.evaluate(learner, data, store=FeatureStore(tmp_path)).scores
    torch.testing.assert_close(scores.double(), own[:, learner.ids[:, 0]], rtol=0, atol=2e-5)


def test_avs_is_its_equation(any_lm: LanguageModel, tmp_path: Path) -> None:
    data, usable = task(3), usable_words(any_lm).tolist()
    logit, labels = logits(any_lm, data)
    p = logit.softmax(1)

    def ratio(word: int, label: int) -> float:
        odds = [float((p[row, word] / (1 - p[row, word])).log()) for row in range(len(labels))]
        own = [x for x, y in zip(odds, labels, strict=True) if y == label]
        rest = [x for x, y in zip(odds, labels, strict=True) if y != label]
        return sum(own) - len(own) / len(rest) * sum(rest)

    learner = fitted(any_lm, data, FeatureStore(tmp_path), search="avs", candidates=30, count=2)
    for label in range(3):
        candidates = most_likely(logit, labels, usable, label, 30)
        mine = [w for w in candidates if max(range(3), key=lambda other, w=w: ratio(w, other)) == label]
        wanted = sorted((ratio(word, label) for word in mine), reverse=True)[:2]
        chosen = [ratio(word, label) for word in learner.ids[label].tolist()]
        assert chosen == pytest.approx(wanted, rel=1e-3, abs=1e-3)
    scores = vp.evaluate(learner, data, store=FeatureStore(tmp_path)).scores
    torch.testing.assert_close(scores.double(), logit[:, learner.ids].mean(-1), rtol=0, atol=2e-5)


def test_the_words_make_a_hard_prompt_and_are_saved(tiny_lm: Make, tmp_path: Path) -> None:
    lm, data, store = tiny_lm("roberta"), task(2), FeatureStore(tmp_path)
    learner = fitted(lm, data, store, candidates=9)
    hard = HardPrompt(lm, data.classes, HardPromptConfig(TEMPLATE, learner.words))
    scores = vp.evaluate(learner, data, store=store).scores
    torch.testing.assert_close(vp.evaluate(hard, data, store=store).scores, scores)
    learner.save(tmp_path / "prompt")
    again = vp.load(tmp_path / "prompt", lm)
    assert again.found_words() == learner.found_words()
    assert torch.equal(vp.evaluate(again, data, store=store).scores, scores)
    with pytest.raises(UsageError, match="its label words were found for these classes"):
        learner.set_classes(["bad", "good"])


def test_validation_texts_choose_among_the_best(tiny_lm: Make, tmp_path: Path) -> None:
    lm, store, data = tiny_lm("bert"), FeatureStore(tmp_path), task(2)
    opposite = tuple(vp.Example(each.item, 1 - each.label) for each in data.train)  # the best on train is worst here
    validated = fitted(lm, task_of(data.train, opposite), store, candidates=4, keep=12)
    plain = fitted(lm, data, store, candidates=4)
    with_val, without = (
        vp.evaluate(each, task_of(opposite), store=store).metrics["top1"] for each in (validated, plain)
    )
    assert with_val > without


def test_a_class_without_texts_is_named(tiny_lm: Make, tmp_path: Path) -> None:
    data, store = task(2), FeatureStore(tmp_path)
    with pytest.raises(UsageError, match="class 2 has no training text"):
        fitted(tiny_lm("bert"), task_of(data.train, classes=3), store)
    with pytest.raises(UsageError, match="fewer than 30 words of its own"):
        fitted(tiny_lm("bert"), data, store, search="avs", candidates=20, count=30)
