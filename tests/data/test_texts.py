"""Texts are items of tasks: drawn, hashed and batched as images are."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import vlprompt as vp
from vlprompt import feed
from vlprompt.data import Batch, Example, FeatureStore, Task, Text, TextBatches
from vlprompt.errors import UsageError


def task(shift: str = "") -> Task:
    rows = tuple(Example(Text.of(text=f"text {number}{shift}"), number % 2) for number in range(20))
    return Task("made", ("no", "yes"), ("{text} {mask}",), rows, rows[:6], rows[6:12], words=(("no",), ("yes", "sure")))


def test_a_text_is_a_mapping_and_says_its_content() -> None:
    text = Text.of(premise="it rained", hypothesis="w\u00e9t")
    assert dict(text) == {"premise": "it rained", "hypothesis": "w\u00e9t"}
    assert "other" not in text
    assert str(text) == '[["premise", "it rained"], ["hypothesis", "w\u00e9t"]]'
    assert len({text, Text.of(premise="it rained", hypothesis="w\u00e9t"), Text.of(premise="")}) == 2


def test_the_split_hash_covers_the_words_of_a_text() -> None:
    assert task().split_hash == task().split_hash
    assert task().split_hash != task(".").split_hash


def test_few_shot_and_halves_work_as_for_images() -> None:
    few = task().few_shot(3, seed=1)
    assert [example.label for example in few.train].count(1) == 3
    assert few.words == task().words
    base, new = task().base_and_new()
    assert (base.words, new.words) == ((("no",),), (("yes", "sure"),))


def test_words_must_go_with_the_classes() -> None:
    with pytest.raises(UsageError, match="2 classes and label words for 1"):
        replace(task(), words=(("no",),))


def test_batches_are_shuffled_by_seed_and_epoch_and_in_order_without() -> None:
    batches = TextBatches(task().train, batch_size=6, seed=3)
    assert (batches.size, len(batches)) == (20, 3)
    first, second = ([batch.index.tolist() for batch in batches.epoch(epoch)] for epoch in (0, 1))
    assert first != second
    assert first == [batch.index.tolist() for batch in batches.epoch(0)]
    for batch in batches.epoch(0):
        assert batch.texts == tuple(task().train[i].item for i in batch.index.tolist())
        assert batch.labels.tolist() == [task().train[i].label for i in batch.index.tolist()]
    whole = list(TextBatches(task().train, batch_size=6).epoch(0))
    assert torch.cat([batch.index for batch in whole]).tolist() == list(range(20))


def test_a_batch_keeps_its_texts_when_it_moves() -> None:
    (batch,) = TextBatches(task().test, batch_size=10).epoch(0)
    assert batch.to("cpu").texts == batch.texts


def test_images_and_texts_are_not_mixed_up(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="reads texts; 3 is none"):
        TextBatches([Example(3, 0)], batch_size=1)
    clip = vp.load_clip("tiny")
    learner = vp.learners.CoOp(clip, ["one", "two"])
    for use in (
        lambda: feed.training(learner, task(), vp.TrainConfig(), FeatureStore(tmp_path)),
        lambda: feed.judging(learner, task(), task().test, FeatureStore(tmp_path)),
    ):
        with pytest.raises(UsageError, match="coop reads images, the task has texts"):
            use()
    with pytest.raises(UsageError, match=r"vlprompt\.feed"):
        vp.learners.base.texts_of(Batch(torch.zeros(1), torch.zeros(1)))
