"""Labelled batches with unlabelled ones beside them."""

import itertools

import torch

from vlprompt.data.batch import Batch
from vlprompt.data.loaders import FeatureBatches
from vlprompt.data.unlabelled import WithUnlabelled


def paired(labelled: int, unlabelled: int, size: int = 4) -> WithUnlabelled:
    """Features that are the examples' own numbers; domains by thirds."""
    known, new = torch.arange(labelled), torch.arange(unlabelled)
    source = FeatureBatches(known[:, None].float(), known % 3, batch_size=size, seed=1)
    target = FeatureBatches(new[:, None].float(), torch.full_like(new, -1), batch_size=size, seed=2)
    return WithUnlabelled(source, known // 3, target)


def beside(batches: list[Batch]) -> list[int]:
    return [int(i) for batch in batches for i in batch.unlabelled.index]


def test_each_batch_has_domains_and_as_many_unlabelled() -> None:
    data = paired(12, 40)
    batches = list(data.epoch(3))
    assert len(batches) == len(data) == 3
    assert data.size == 52
    for batch in batches:
        assert torch.equal(batch.domains, batch.index // 3)
        assert torch.equal(batch.features[:, 0], batch.index.float())
        assert torch.equal(batch.unlabelled.features[:, 0], batch.unlabelled.index.float())
        assert batch.unlabelled.labels.tolist() == [-1] * 4
        assert batch.unlabelled.unlabelled is None


def test_a_small_target_is_gone_through_again_in_another_order() -> None:
    data = paired(24, 8)  # three passes over the target in an epoch
    seen = beside(list(data.epoch(0)))
    passes = [seen[i : i + 8] for i in (0, 8, 16)]
    assert all(sorted(each) == list(range(8)) for each in passes)
    assert len({tuple(each) for each in passes}) == 3


def test_a_large_target_shows_other_images_every_epoch() -> None:
    data = paired(8, 400)
    seen = [beside(list(data.epoch(number))) for number in range(10)]
    assert all(len(set(each)) == 8 for each in seen)
    assert len(set(itertools.chain.from_iterable(seen))) > 60


def test_an_epoch_is_the_same_whenever_it_is_asked_for() -> None:
    data = paired(24, 10)
    first = beside(list(data.epoch(5)))
    list(data.epoch(1))
    next(data.epoch(2))  # left in the middle
    assert beside(list(data.epoch(5))) == first
    assert beside(list(paired(24, 10).epoch(5))) == first
    assert first != beside(list(data.epoch(4)))


def test_a_target_smaller_than_a_batch_is_taken_whole() -> None:
    for batch in paired(12, 2).epoch(0):
        assert sorted(batch.unlabelled.index.tolist()) == [0, 1]


def test_it_moves_between_devices_whole() -> None:
    moved = next(paired(12, 8).epoch(0)).to("meta")
    assert {moved.domains.device.type, moved.unlabelled.features.device.type} == {"meta"}
