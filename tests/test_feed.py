"""feed: who is given what to learn from, and from where."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import vlprompt as vp
from vlprompt import feed
from vlprompt.data import FeatureBatches, FeatureStore
from vlprompt.data.unlabelled import WithUnlabelled
from vlprompt.errors import UsageError
from vlprompt.learners import DAPL, CoOp, CoOpConfig, DAPLConfig


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


@pytest.fixture(scope="module")
def learner(clip: vp.Clip, task: vp.Task) -> DAPL:
    return DAPL.for_task(clip, task, DAPLConfig(n_ctx=2, n_domain_ctx=2, domain_words=""))


@pytest.mark.parametrize("augment", ["none", "cached:2", "paper"])
def test_a_learner_that_adapts_is_fed_both(learner: DAPL, task: vp.Task, tmp_path: Path, augment: str) -> None:
    config, store = vp.TrainConfig(augment=augment, batch_size=10, seed=3), FeatureStore(tmp_path)
    batches = list(feed.training(learner, task, config, store).epoch(1))
    assert len(batches) == 2
    for batch in batches:
        assert batch.labels.tolist() == [task.train[i].label for i in batch.index]
        assert batch.domains.tolist() == [task.train[i].domain for i in batch.index]
        assert batch.unlabelled.labels.tolist() == [-1] * 10
        assert batch.unlabelled.features.shape == batch.features.shape
    again = list(feed.training(learner, task, config, FeatureStore(tmp_path / "other")).epoch(1))
    assert all(torch.equal(a.unlabelled.features, b.unlabelled.features) for a, b in zip(batches, again, strict=True))
    assert store.info().rows == {"none": 50, "cached:2": 100, "paper": 0}[augment], "stored where they are facts"


def test_the_unlabelled_have_an_order_of_their_own(learner: DAPL, task: vp.Task, tmp_path: Path) -> None:
    same = replace(task, unlabelled=tuple(replace(e, label=-1) for e in task.train))
    config = vp.TrainConfig(augment="none", batch_size=20)
    (batch,) = feed.training(learner, same, config, FeatureStore(tmp_path)).epoch(0)
    assert sorted(batch.index.tolist()) == sorted(batch.unlabelled.index.tolist())
    assert not torch.equal(batch.index, batch.unlabelled.index)


def test_others_are_fed_as_if_nothing_was_there(clip: vp.Clip, task: vp.Task, tmp_path: Path) -> None:
    coop = CoOp(clip, task.classes, CoOpConfig(n_ctx=2))
    config, store = vp.TrainConfig(augment="none", batch_size=10), FeatureStore(tmp_path)
    plain = replace(task, unlabelled=(), domains=(), train=tuple(replace(e, domain=0) for e in task.train))
    data = feed.training(coop, task, config, store)
    assert isinstance(data, FeatureBatches)
    assert store.info().rows == 20, "what is not learned from is not encoded"
    for one, other in zip(data.epoch(0), feed.training(coop, plain, config, store).epoch(0), strict=True):
        assert torch.equal(one.features, other.features)
        assert one.unlabelled is None


def test_nothing_to_adapt_to_is_one_line(learner: DAPL, task: vp.Task, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"dapl learns from a target.*digits has none; run it with `vlprompt adapt`"):
        feed.training(learner, replace(task, unlabelled=()), vp.TrainConfig(), FeatureStore(tmp_path))


def test_texts_come_with_unlabelled_ones_for_whom_they_are(tiny_lm: Callable[[str], Any], tmp_path: Path) -> None:
    """Shuffled to train on; in order, whole and once to `prepare`."""
    rows = [vp.Example(vp.Text.of(text=f"the film {number}"), number % 2) for number in range(7)]
    rest = tuple(replace(row, label=-1) for row in rows[:5])
    task = vp.Task("films", ("bad", "good"), ("{text} {mask}",), tuple(rows), (), (), rest, words=(("bad",), ("good",)))
    lm, config, store = tiny_lm("bert"), vp.TrainConfig(batch_size=3), FeatureStore(tmp_path)
    pet = vp.cloze.PET.for_task(lm, task, vp.cloze.PETConfig())
    batches = list(feed.training(pet, task, config, store).epoch(0))
    assert [len(batch.unlabelled.texts) for batch in batches] == [3, 3]
    assert all(batch.unlabelled.labels.tolist() == [-1] * 3 for batch in batches)
    known, _ = feed.before_training(pet, task, config, store)
    assert isinstance(known, WithUnlabelled)
    assert [batch.index.tolist() for batch in known.unlabelled.epoch(0)] == [[0, 1, 2, 3, 4]]
    assert [batch.index.tolist() for batch in known.labelled.epoch(0)] == [list(range(7))]
    plain = vp.cloze.PromptOrientedFineTuning.for_task(lm, task, vp.cloze.PromptOrientedFineTuningConfig())
    assert next(feed.training(plain, task, config, store).epoch(0)).unlabelled is None
    beside = replace(plain.config, lm_training=True)
    plain = vp.cloze.PromptOrientedFineTuning.for_task(lm, task, beside)
    assert next(feed.training(plain, task, config, store).epoch(0)).unlabelled is not None
