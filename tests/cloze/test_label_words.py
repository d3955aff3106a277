"""Label words that are found are those that trying everything, text by text, finds."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import vlprompt as vp
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import HardPrompt, HardPromptConfig, LabelWords, LabelWordsConfig, word_search
from vlprompt.data import FeatureStore
from vlprompt.errors import UsageError

Make = Callable[..., LanguageModel]
Own = Callable[..., Tensor]
TEMPLATE = "{text} it was {mask}"
TEXTS = (
    ("the film was great .", "the story was good", "i liked it ."),
    ("the actor was awful .", "i left", "the music was dull and bad", "no"),
    ("a probe of the model", "maybe , maybe"),
)
CLASSES = ("one", "two", "three")


def task(classes: int = 3) -> vp.Task:
    rows = tuple(vp.Example(vp.Text.of(text=text), label) for label, own in enumerate(TEXTS[:classes]) for text in own)
    return made_of(rows, classes=classes)


def made_of(train: tuple[vp.Example, ...], val: tuple[vp.Example, ...] = (), classes: int = 2) -> vp.Task:
    names = CLASSES[:classes]
    return vp.Task("made", names, (TEMPLATE,), train, val, train, words=tuple((name,) for name in names))


def fitted(lm: LanguageModel, made: vp.Task, store: FeatureStore, **changes: Any) -> LabelWords:
    learner = LabelWords.for_task(lm, made, LabelWordsConfig(template=TEMPLATE, **changes))
    vp.fit(learner, made, vp.cloze.label_words.recipe(), store=store)
    return learner


def logits(lm: LanguageModel, made: vp.Task, own_scores: Own) -> tuple[Tensor, list[int]]:
    """(N, V) by the library alone, and N labels."""
    return torch.stack([own_scores(lm, e.item["text"]) for e in made.train]).double(), [e.label for e in made.train]  # type: ignore[index, call-overload]


def likeliest(found: Tensor, labels: list[int], usable: list[int], label: int, count: int) -> list[int]:
    own = [row for row, own in zip(found.log_softmax(1), labels, strict=True) if own == label]
    return sorted(usable, key=lambda word: -sum(float(row[word]) for row in own))[:count]


@pytest.mark.parametrize("classes", [2, 3])
def test_lm_bff_is_the_best_of_all_combinations(
    classes: int, any_lm: LanguageModel, own_scores: Own, tmp_path: Path
) -> None:
    made, usable = task(classes), word_search.usable(any_lm).tolist()
    found, labels = logits(any_lm, made, own_scores)
    lists = [likeliest(found, labels, usable, label, 6) for label in range(classes)]
    best = max(
        (words for words in itertools.product(*lists) if len(set(words)) == classes),
        key=lambda words: judged(found, labels, words),
    )
    learner = fitted(any_lm, made, FeatureStore(tmp_path), candidates=6)
    assert judged(found, labels, tuple(learner.ids[:, 0].tolist())) == pytest.approx(judged(found, labels, best))
    scores = vp.evaluate(learner, made, store=FeatureStore(tmp_path)).scores
    torch.testing.assert_close(scores.double(), found[:, learner.ids[:, 0]], rtol=0, atol=2e-5)


def judged(found: Tensor, labels: list[int], words: tuple[int, ...]) -> tuple[float, float]:
    """Accuracy and minus the mean cross-entropy, text by text."""
    right, loss = 0, 0.0
    for row, label in zip(found, labels, strict=True):
        own = row[list(words)]
        right += int(own.argmax()) == label
        loss -= float(own.log_softmax(0)[label])
    return right / len(labels), -loss / len(labels)


def test_avs_is_its_equation(any_lm: LanguageModel, own_scores: Own, tmp_path: Path) -> None:
    made, usable = task(3), word_search.usable(any_lm).tolist()
    found, labels = logits(any_lm, made, own_scores)
    p = found.softmax(1)

    def ratio(word: int, label: int) -> float:
        odds = [float((p[row, word] / (1 - p[row, word])).log()) for row in range(len(labels))]
        own = [x for x, y in zip(odds, labels, strict=True) if y == label]
        rest = [x for x, y in zip(odds, labels, strict=True) if y != label]
        return sum(own) - len(own) / len(rest) * sum(rest)

    learner = fitted(any_lm, made, FeatureStore(tmp_path), search="avs", candidates=30, count=2)
    lists = [likeliest(found, labels, usable, label, 30) for label in range(3)]
    for label, own in enumerate(lists):
        mine = [w for w in own if max(range(3), key=lambda other, w=w: ratio(w, other)) == label]
        wanted = sorted(mine, key=lambda word, label=label: -ratio(word, label))[:2]
        chosen = learner.ids[label].tolist()
        assert [ratio(w, label) for w in chosen] == pytest.approx([ratio(w, label) for w in wanted], rel=1e-3, abs=1e-3)
    scores = vp.evaluate(learner, made, store=FeatureStore(tmp_path)).scores
    torch.testing.assert_close(scores.double(), found[:, learner.ids].mean(-1), rtol=0, atol=2e-5)


def test_the_words_make_a_hard_prompt_and_survive_a_checkpoint(tiny_lm: Make, tmp_path: Path) -> None:
    lm, made = tiny_lm("roberta"), task(2)
    learner = fitted(lm, made, FeatureStore(tmp_path), candidates=9)
    hard = HardPrompt(lm, made.classes, HardPromptConfig(TEMPLATE, learner.words))
    store = FeatureStore(tmp_path)
    scores = vp.evaluate(learner, made, store=store).scores
    torch.testing.assert_close(vp.evaluate(hard, made, store=store).scores, scores)
    learner.save(tmp_path / "prompt")
    again = vp.load(tmp_path / "prompt", lm)
    assert again.words == learner.words  # type: ignore[attr-defined]
    assert torch.equal(vp.evaluate(again, made, store=store).scores, scores)
    with pytest.raises(UsageError, match="its label words were found for these classes"):
        learner.set_classes(["bad", "good"])


def test_validation_texts_choose_among_the_best(tiny_lm: Make, tmp_path: Path) -> None:
    lm, store = tiny_lm("bert"), FeatureStore(tmp_path)
    train = task(2)
    odd = tuple(vp.Example(e.item, 1 - e.label) for e in train.train)  # what is best on train is worst here
    found = fitted(lm, made_of(train.train, odd), store, candidates=4, keep=12)
    plain = fitted(lm, train, store, candidates=4)
    upside_down = made_of(odd)
    top1 = {name: vp.evaluate(x, upside_down, store=store).metrics["top1"] for name, x in (("a", found), ("b", plain))}
    assert top1["a"] > top1["b"]


def test_many_classes_combine_fewer_candidates_and_never_share_a_word() -> None:
    generator = torch.Generator().manual_seed(1)
    scores, labels = torch.randn(12, 12, 9, generator=generator), torch.arange(12)
    ids = torch.arange(12)[:, None] * 9 + torch.arange(9)
    best = word_search.assignments(scores, ids, labels, keep=5)
    assert best.shape == (5, 12)
    assert int(best.max()) == 2, "3 ** 12 is the last below a million"
    with pytest.raises(UsageError, match="do not give 2 classes words of their own"):
        word_search.assignments(torch.randn(4, 2, 1), torch.zeros(2, 1, dtype=torch.int64), torch.arange(4) % 2, 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"search": "lm-bf"}, "did you mean 'lm-bff'"),
        ({"candidates": 0}, "each must be 1 or more"),
        ({"count": 2}, "finds one word a class, use search='avs'"),
    ],
)
def test_settings_are_checked(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        LabelWordsConfig(**changes)


def test_a_class_without_texts_is_named(tiny_lm: Make, tmp_path: Path) -> None:
    made = task(2)
    few = made_of(made.train, classes=3)
    with pytest.raises(UsageError, match="class 2 has no training text"):
        fitted(tiny_lm("bert"), few, FeatureStore(tmp_path))
    with pytest.raises(UsageError, match="fewer than 30 words of its own"):
        fitted(tiny_lm("bert"), made, FeatureStore(tmp_path), search="avs", candidates=20, count=30)
