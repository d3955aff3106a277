"""Loose items: what users give to classify."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vlprompt.data.items import as_list, image_item, text_item
from vlprompt.errors import UsageError

IMAGE = Image.new("RGB", (4, 5))


@pytest.mark.parametrize(
    "item",
    ["a.png", Path("a.png"), IMAGE, b"\xff", io.BytesIO(), np.zeros((4, 5)), np.zeros((3, 4, 5)), np.zeros((4, 5, 3))],
)
def test_one_image_is_a_list_of_one(item: Any) -> None:
    (only,) = as_list(item, of_texts=False)
    assert only is item


@pytest.mark.parametrize(
    ("items", "count"),
    [
        ((name for name in ("a", "b")), 2),
        (np.array(["a.png", "b.png"]), 2),
        (np.zeros((5, 4, 6)), 5),
        (np.zeros((2, 4, 5, 3)), 2),
        ({"a.png": 1, "b.png": 2}.keys(), 2),
        ((), 0),
    ],
)
def test_several_items_are_a_list(items: Iterable[Any], count: int) -> None:
    assert len(as_list(items, of_texts=False)) == count


def test_one_text_is_a_list_of_one() -> None:
    assert as_list("a film", of_texts=True) == ["a film"]
    assert as_list({"text": "a film"}, of_texts=True) == [{"text": "a film"}]
    assert as_list(np.array(["a", "b"]), of_texts=True) == ["a", "b"]


@pytest.mark.parametrize(
    ("items", "of_texts"), [(None, False), (3, False), (1.5, True), ({"a": 1}, False), (b"a", True)]
)
def test_other_things_are_refused(items: Any, of_texts: bool) -> None:
    with pytest.raises(UsageError, match=r"cannot be classified; give a"):
        as_list(items, of_texts=of_texts)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (None, "item 7 is None"),
        (3, r"item 7 is of type int \(3\)"),
        (torch.zeros(3, 4, 4), "item 7 is a tensor"),
        ({"image": "a"}, "item 7 is of type dict"),
        ("HTTPS://example.org/a.png", "item 7 is a web address, HTTPS://example.org/a.png; download"),
        (np.zeros((2, 2, 2)), "item 7 is an array that is not an image: its shape"),
    ],
)
def test_wrong_images_are_named_by_position_and_type(item: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        image_item(7, item)


@pytest.mark.parametrize("item", [None, 3, ["a"], {"text": None}, {"text": 3}, {1: "a"}])
def test_wrong_texts_are_named_by_position(item: Any) -> None:
    with pytest.raises(UsageError, match="item 2 "):
        text_item(2, item, "text")
