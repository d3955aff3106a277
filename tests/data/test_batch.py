import dataclasses

import pytest
import torch

from vlprompt.data.batch import Batch


def test_moves_all_it_holds_and_nothing_it_does_not() -> None:
    batch = Batch(torch.tensor([1, -1]), torch.tensor([5, 6]), features=torch.ones(2, 3))
    moved = batch.to("meta")
    assert len(moved) == 2
    assert moved.labels.is_meta
    assert moved.index.is_meta
    assert moved.features is not None
    assert moved.features.is_meta
    assert moved.images is None
    assert not batch.labels.is_meta


def test_cannot_be_changed() -> None:
    batch = Batch(torch.zeros(1), torch.zeros(1))
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch.labels = torch.ones(1)  # type: ignore[misc]
