"""Batches: their order, their columns, and unlabelled batches beside labelled ones."""

import itertools

import pytest
import torch
from torch import Tensor

from vlprompt.data import transforms
from vlprompt.data.batch import Batch
from vlprompt.data.batches import (
    Batches,
    batch_count,
    batch_positions,
    encoded,
    feature_batches,
    image_batches,
    rows,
    text_batches,
)
from vlprompt.data.images import Example, Files
from vlprompt.data.texts import Text
from vlprompt.errors import UsageError

Ten = tuple[Files, list[Example]]
PREPROCESS = transforms.Preprocess(16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
TRAIN, TEST = transforms.train_transform(PREPROCESS), transforms.test_transform(PREPROCESS)


@pytest.mark.parametrize(("size", "batches"), [(0, 0), (3, 1), (4, 1), (7, 1), (8, 2)])
def test_an_incomplete_last_batch_is_dropped_if_there_is_a_complete_one(size: int, batches: int) -> None:
    assert batch_count(size, 4, drop_last=True) == len(batch_positions(size, 4, 1, 0)) == batches
    assert batch_count(size, 4, drop_last=False) == len(batch_positions(size, 4, None, 0)) == -(-size // 4)


def test_batch_size_must_be_positive() -> None:
    with pytest.raises(UsageError, match="batch_size must be 1 or more, got 0"):
        Batches([0], batch_size=0)


def test_feature_batches_read_one_view_per_epoch() -> None:
    views = torch.arange(24.0).reshape(3, 4, 2)
    batches = feature_batches(views, [0, 1, 2, 3], batch_size=2, seed=5)
    for number in range(5):
        for batch in batches.epoch(number):
            assert batch.images is None
            assert batch.features is not None
            assert torch.equal(batch.features, views[number % 3][batch.index])
            assert torch.equal(batch.labels, batch.index)


def test_features_have_the_order_of_images(ten_images: Ten) -> None:
    by_image = image_batches(*ten_images, TRAIN, batch_size=4, seed=9)
    by_feature = feature_batches(torch.zeros(10, 2), [0] * 10, batch_size=4, seed=9)
    for number in range(3):
        order = [[batch.index.tolist() for batch in each.epoch(number)] for each in (by_image, by_feature)]
        assert order[0] == order[1]


def test_features_and_labels_must_have_one_length() -> None:
    with pytest.raises(UsageError, match=r"features \(4, 2\) for 3 labels"):
        feature_batches(torch.zeros(4, 2), [0, 1, 2], batch_size=1)
    with pytest.raises(UsageError, match=r"features \(4, 1, 2\) for 4 labels"):
        feature_batches(torch.zeros(4, 1, 2), [0] * 4, batch_size=1)


def test_encoded_features_come_from_the_images_of_the_batch_without_gradients(ten_images: Ten) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    plain = image_batches(*ten_images, TEST, batch_size=4)
    both = plain.having(features=encoded(lambda images: images.mean(dim=(2, 3)) * weight))
    assert (both.size, len(both)) == (10, 3)
    for batch, bare in zip(both.epoch(0), plain.epoch(0), strict=True):
        assert bare.images is not None
        assert bare.features is None, "the batches without the column are unchanged"
        assert batch.features is not None
        assert not batch.features.requires_grad
        assert torch.equal(batch.features, bare.images.mean(dim=(2, 3)))
    without_images = feature_batches(torch.zeros(1, 1), [0], batch_size=1).having(features=encoded(torch.neg))
    with pytest.raises(UsageError, match="have no images to encode"):
        next(without_images.epoch(0))


def test_rows_beside_images_belong_to_them(ten_images: Ten) -> None:
    numbers = torch.arange(10.0)[:, None]
    batches = image_batches(*ten_images, TRAIN, batch_size=4, seed=2).having(features=rows(numbers))
    for batch in batches.epoch(3):
        assert batch.images is not None
        assert torch.equal(batch.features, numbers[batch.index])


def test_text_batches_are_shuffled_by_seed_and_epoch_and_in_order_without() -> None:
    examples = [Example(Text.of(text=f"text {number}"), number % 2) for number in range(20)]
    batches = text_batches(examples, batch_size=6, seed=3)
    assert (batches.size, len(batches)) == (20, 3)
    first, second = ([batch.index.tolist() for batch in batches.epoch(epoch)] for epoch in (0, 1))
    assert first != second
    assert first == [batch.index.tolist() for batch in batches.epoch(0)]
    for batch in batches.epoch(0):
        assert batch.texts == tuple(examples[i].item for i in batch.index.tolist())
        assert batch.labels.tolist() == [examples[i].label for i in batch.index.tolist()]
    whole = list(text_batches(examples, batch_size=6).epoch(0))
    assert torch.cat([batch.index for batch in whole]).tolist() == list(range(20))


def test_text_batches_refuse_other_examples() -> None:
    with pytest.raises(UsageError, match="reads texts; 3 is not one"):
        text_batches([Example(3, 0)], batch_size=1)


def paired(labelled: int, unlabelled: int, size: int = 4) -> Batches:
    """Batches whose features are the examples' positions; domains by thirds."""
    source, target = torch.arange(labelled), torch.arange(unlabelled)
    batches = feature_batches(source[:, None].float(), source % 3, batch_size=size, seed=1)
    others = feature_batches(target[:, None].float(), torch.full_like(target, -1), batch_size=size, seed=2)
    return batches.beside(others, source // 3)


def unlabelled_of(batch: Batch) -> Batch:
    assert batch.unlabelled is not None
    return batch.unlabelled


def positions(batches: list[Batch]) -> list[int]:
    """Positions of the unlabelled examples, in their order."""
    return [int(i) for batch in batches for i in unlabelled_of(batch).index]


def test_each_batch_has_domains_and_as_many_unlabelled_examples() -> None:
    data = paired(12, 40)
    batches = list(data.epoch(3))
    assert len(batches) == len(data) == 3
    assert data.size == 52
    assert data.unlabelled is not None
    assert data.unlabelled.size == 40
    for batch in batches:
        beside = unlabelled_of(batch)
        assert torch.equal(batch.domains, batch.index // 3)
        assert torch.equal(batch.features[:, 0], batch.index.float())
        assert torch.equal(beside.features[:, 0], beside.index.float())
        assert beside.labels.tolist() == [-1] * 4
        assert beside.unlabelled is None


def test_labelled_batches_are_the_same_with_and_without_unlabelled_ones() -> None:
    alone = feature_batches(torch.arange(12.0)[:, None], torch.arange(12) % 3, batch_size=4, seed=1)
    order: list[list[Tensor]] = [[batch.index for batch in each.epoch(2)] for each in (alone, paired(12, 40))]
    assert all(torch.equal(a, b) for a, b in zip(*order, strict=True))


def test_a_small_target_is_repeated_in_another_order() -> None:
    seen = positions(list(paired(24, 8).epoch(0)))  # three passes over the target in an epoch
    passes = [seen[i : i + 8] for i in (0, 8, 16)]
    assert all(sorted(each) == list(range(8)) for each in passes)
    assert len({tuple(each) for each in passes}) == 3


def test_a_large_target_shows_other_images_every_epoch() -> None:
    data = paired(8, 400)
    seen = [positions(list(data.epoch(number))) for number in range(10)]
    assert all(len(set(each)) == 8 for each in seen)
    assert len(set(itertools.chain.from_iterable(seen))) > 60


def test_an_epoch_is_the_same_at_every_call() -> None:
    data = paired(24, 10)
    first = positions(list(data.epoch(5)))
    list(data.epoch(1))
    next(data.epoch(2))  # not finished
    assert positions(list(data.epoch(5))) == first
    assert positions(list(paired(24, 10).epoch(5))) == first
    assert first != positions(list(data.epoch(4)))


def test_a_target_smaller_than_a_batch_is_used_whole() -> None:
    for batch in paired(12, 2).epoch(0):
        assert sorted(unlabelled_of(batch).index.tolist()) == [0, 1]


def test_the_unlabelled_batch_moves_between_devices_too() -> None:
    moved = next(paired(12, 8).epoch(0)).to("meta")
    assert moved.domains is not None
    assert unlabelled_of(moved).features is not None
    assert {moved.domains.device.type, unlabelled_of(moved).features.device.type} == {"meta"}


def test_closing_ends_the_workers_of_both(ten_images: Ten) -> None:
    import multiprocessing

    data, others = (image_batches(*ten_images, TRAIN, batch_size=4, seed=1, workers=1) for _ in range(2))
    both = data.beside(others, torch.zeros(10, dtype=torch.int64))
    next(both.epoch(0))
    assert len(multiprocessing.active_children()) == 2
    both.close()
    assert not multiprocessing.active_children()
