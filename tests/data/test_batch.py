import dataclasses
from collections.abc import Callable

import pytest
import torch

from vlprompt.data.batch import Batch, features_of, images_of, texts_of, views_of
from vlprompt.data.texts import Text
from vlprompt.errors import UsageError


def test_moves_the_fields_that_it_has() -> None:
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


def test_texts_have_no_labels_and_keep_their_texts_when_moved() -> None:
    batch = Batch.of_texts(["a", {"claim": "b"}], "claim")
    assert (batch.labels.tolist(), batch.index.tolist()) == ([-1, -1], [0, 1])
    assert texts_of(batch.to("cpu")) == (Text.of(claim="a"), Text.of(claim="b"))


def test_one_text_is_a_batch_of_one_and_other_items_are_refused() -> None:
    assert texts_of(Batch.of_texts("a film")) == (Text.of(text="a film"),)
    assert len(Batch.of_texts(name for name in ("a", "b"))) == 2
    for items in ([None], ["a", 3], [{"text": None}], None):
        with pytest.raises(UsageError, match=r"give|a field is a string"):
            Batch.of_texts(items)


def test_a_part_has_some_rows_of_every_field() -> None:
    other = Batch.of_texts(["x"])
    texts = (Text.of(text="a"), Text.of(text="b"), Text.of(text="c"))
    whole = Batch(torch.arange(3), torch.arange(3) + 7, features=torch.eye(3), texts=texts, unlabelled=other)
    part = whole.part(torch.tensor([2, 0]))
    assert (part.labels.tolist(), part.index.tolist()) == ([2, 0], [9, 7])
    assert torch.equal(features_of(part), torch.eye(3)[[2, 0]])
    assert texts_of(part) == (texts[2], texts[0])
    assert part.unlabelled is other


@pytest.mark.parametrize("field", [features_of, texts_of, images_of, views_of])
def test_a_missing_field_is_an_error_with_advice(field: Callable[[Batch], object]) -> None:
    name = field.__name__.removesuffix("_of")
    with pytest.raises(UsageError, match=rf"reads {name}, but the batch has none; .*vlprompt\.data\.feed"):
        field(Batch(torch.zeros(1), torch.zeros(1)))
