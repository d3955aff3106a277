"""Feed: which batches a learner is trained on, and which of their features are stored."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import vlprompt as vp
from vlprompt.data import feed
from vlprompt.data.features import FeatureStore
from vlprompt.data.needs import Input, Needs
from vlprompt.errors import UsageError

ADAPTS = Needs(unlabelled=True)


@pytest.fixture(scope="module")
def clip() -> vp.Clip:
    return vp.load_clip("tiny")


@pytest.fixture(scope="module")
def task() -> vp.Task:
    """Two shots of digits from two sources, 30 images without labels."""
    digits = vp.load_task("digits").few_shot(2, seed=1)
    train = tuple(replace(example, domain=number % 2) for number, example in enumerate(digits.train))
    unlabelled = tuple(replace(example, label=-1, domain=2) for example in digits.test[:30])
    return replace(digits, train=train, unlabelled=unlabelled, domains=("a", "b", "target"))


@pytest.mark.parametrize("augment", ["none", "cached:2", "paper"])
def test_unlabelled_batches_beside_labelled_ones(clip: vp.Clip, task: vp.Task, tmp_path: Path, augment: str) -> None:
    config, store = vp.TrainConfig(augment=augment, batch_size=10, seed=3), FeatureStore(tmp_path)
    batches = list(feed.train_batches(ADAPTS, clip, task, config, store).epoch(1))
    assert len(batches) == 2
    for batch in batches:
        assert batch.labels.tolist() == [task.train[i].label for i in batch.index]
        assert batch.domains.tolist() == [task.train[i].domain for i in batch.index]
        assert batch.unlabelled.labels.tolist() == [-1] * 10
        assert batch.unlabelled.features.shape == batch.features.shape
    again = list(feed.train_batches(ADAPTS, clip, task, config, FeatureStore(tmp_path / "other")).epoch(1))
    assert all(torch.equal(a.unlabelled.features, b.unlabelled.features) for a, b in zip(batches, again, strict=True))
    assert store.info().rows == {"none": 50, "cached:2": 100, "paper": 0}[augment], "stored unless views change"


def test_unlabelled_examples_have_another_order(clip: vp.Clip, task: vp.Task, tmp_path: Path) -> None:
    same = replace(task, unlabelled=tuple(replace(e, label=-1) for e in task.train))
    config = vp.TrainConfig(augment="none", batch_size=20)
    (batch,) = feed.train_batches(ADAPTS, clip, same, config, FeatureStore(tmp_path)).epoch(0)
    assert sorted(batch.index.tolist()) == sorted(batch.unlabelled.index.tolist())
    assert not torch.equal(batch.index, batch.unlabelled.index)


def test_unlabelled_examples_are_ignored_where_they_are_not_needed(
    clip: vp.Clip, task: vp.Task, tmp_path: Path
) -> None:
    config, store = vp.TrainConfig(augment="none", batch_size=10), FeatureStore(tmp_path)
    plain = replace(task, unlabelled=(), domains=(), train=tuple(replace(e, domain=0) for e in task.train))
    data, other = (feed.train_batches(Needs(), clip, each, config, store) for each in (task, plain))
    assert store.info().rows == 20, "only the training images are encoded"
    for a, b in zip(data.epoch(0), other.epoch(0), strict=True):
        assert torch.equal(a.features, b.features)
        assert a.unlabelled is None


def test_missing_examples_are_an_error_with_advice(clip: vp.Clip, task: vp.Task, tmp_path: Path) -> None:
    config, store = vp.TrainConfig(), FeatureStore(tmp_path)
    with pytest.raises(UsageError, match="and digits has none; run it with `vlprompt adapt`"):
        feed.train_batches(ADAPTS, clip, replace(task, unlabelled=()), config, store)
    with pytest.raises(UsageError, match="digits has no training examples"):
        feed.train_batches(Needs(), clip, task.whole(), config, store)
    texts = Needs(Input.TEXTS, unlabelled=True)
    with pytest.raises(UsageError, match=r"unlabelled texts, and digits has none; hide the labels"):
        feed.need_unlabelled(texts, replace(task, unlabelled=()))


def test_the_training_set_in_order(clip: vp.Clip, task: vp.Task, tmp_path: Path) -> None:
    store, few = FeatureStore(tmp_path), replace(task, val=task.val[:7])
    config = vp.TrainConfig(augment="paper")
    assert feed.ordered_batches(Needs(), clip, few, config, store) == (None, None)
    train, val = feed.ordered_batches(Needs(ordered=True, train_views=3), clip, few, config, store)
    assert train is not None
    assert val is not None
    assert len(val.labels) == 7
    epochs = [next(train.epoch(number)) for number in range(4)]
    assert all(batch.index.tolist() == list(range(20)) for batch in epochs)
    assert torch.equal(epochs[3].features, epochs[0].features)
    assert not torch.equal(epochs[1].features, epochs[0].features)
    plain, _ = feed.ordered_batches(Needs(ordered=True), clip, replace(few, val=()), config, store)
    assert plain is not None
    features = feed.plain_features(clip, few.images, few.train, store)
    assert torch.equal(next(plain.epoch(0)).features, features)
    cached, _ = feed.ordered_batches(
        Needs(ordered=True, train_views=3), clip, few, replace(config, augment="none"), store
    )
    assert cached is not None
    assert torch.equal(next(cached.epoch(1)).features, features), "augment takes precedence"


@pytest.mark.parametrize("needs", [Needs(), Needs(Input.IMAGES, features_too=True), Needs(Input.VIEWS)])
def test_workers_change_nothing_and_are_used_for_stored_features_too(
    clip: vp.Clip, task: vp.Task, tmp_path: Path, needs: Needs, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, config = replace(task, test=task.test[:12]), vp.TrainConfig(augment="none", batch_size=10)
    counts: list[int] = []
    for module in ("features", "image_reader"):
        workers = __import__(f"vlprompt.data.{module}", fromlist=["Workers"]).Workers
        record = lambda data, count, workers=workers: counts.append(count) or workers(data, count)  # noqa: E731
        monkeypatch.setattr(f"vlprompt.data.{module}.Workers", record)

    def batches(count: int) -> list[Any]:
        store = FeatureStore(tmp_path / str(count))
        sets = [feed.test_batches(needs, clip, few, few.test, store, workers=count)]
        if needs.input is not Input.VIEWS:
            sets.append(feed.train_batches(needs, clip, few, config, store, workers=count))
        found = [batch for each in sets for batch in each.epoch(0)]
        for each in sets:
            each.close()
        return found

    alone = batches(0)
    assert counts == []
    for a, b in zip(alone, batches(1), strict=True):
        for name in ("index", "images", "features", "views"):
            first, second = getattr(a, name), getattr(b, name)
            assert first is second is None or torch.equal(first, second)
    assert counts
    assert set(counts) == {1}


def test_unlabelled_texts_for_learners_that_need_them(tiny_lm: Callable[[str], Any], tmp_path: Path) -> None:
    """Shuffled for training; in order, each once, for `prepare`."""
    rows = [vp.Example(vp.Text.of(text=f"the film {number}"), number % 2) for number in range(7)]
    rest = tuple(replace(row, label=-1) for row in rows[:5])
    task = vp.Task("films", ("bad", "good"), ("{text} {mask}",), tuple(rows), (), (), rest, words=(("bad",), ("good",)))
    lm, config, store = tiny_lm("bert"), vp.TrainConfig(batch_size=3), FeatureStore(tmp_path)
    needs = Needs(Input.TEXTS, unlabelled=True, ordered=True)
    batches = list(feed.train_batches(needs, lm, task, config, store).epoch(0))
    assert [len(batch.unlabelled.texts) for batch in batches] == [3, 3]
    assert all(batch.unlabelled.labels.tolist() == [-1] * 3 for batch in batches)
    train, _ = feed.ordered_batches(needs, lm, task, config, store)
    assert train is not None
    assert train.unlabelled is not None
    assert [batch.index.tolist() for batch in train.unlabelled.epoch(0)] == [[0, 1, 2, 3, 4]]
    assert [batch.index.tolist() for batch in train.epoch(0)] == [list(range(7))]
    assert next(feed.train_batches(Needs(Input.TEXTS), lm, task, config, store).epoch(0)).unlabelled is None
    pet, tuned = vp.cloze.PET, vp.cloze.PromptOrientedFineTuning
    learners = (pet.for_task(lm, task, pet.Config()), tuned.for_task(lm, task, tuned.Config()))
    assert [learner.needs.unlabelled for learner in learners] == [True, False]
    beside = replace(learners[1].config, lm_training=True)
    assert tuned.for_task(lm, task, beside).needs.unlabelled


def test_images_and_texts_are_not_mixed_up(clip: vp.Clip, tmp_path: Path) -> None:
    row = vp.Example(vp.Text.of(text="a film"), 0)
    task = vp.Task("films", ("bad",), ("{text} {mask}",), (row,), test=(row,), words=(("bad",),))
    store = FeatureStore(tmp_path)
    with pytest.raises(UsageError, match="reads images, the task has texts"):
        feed.train_batches(Needs(), clip, task, vp.TrainConfig(), store)
    with pytest.raises(UsageError, match="reads images, the task has texts"):
        feed.test_batches(Needs(), clip, task, task.test, store)
    digits = vp.load_task("digits")
    with pytest.raises(UsageError, match=r"reads texts; .* is not one"):
        feed.test_batches(Needs(Input.TEXTS), clip, digits, digits.test[:2], store)
    with pytest.raises(UsageError, match="reads features, not features of texts"):
        feed.text_features(Needs(), clip, task.test, store)
