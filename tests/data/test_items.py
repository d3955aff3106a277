"""Loose items: what users give to classify."""

import io
from collections.abc import Iterable, Iterator
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


def test_tensors_of_integers_are_arrays() -> None:
    (only,) = as_list(torch.zeros(3, 4, 5, dtype=torch.uint8), of_texts=False)
    assert isinstance(image_item(0, only), np.ndarray)
    assert len(as_list(torch.zeros(2, 3, 4, 5, dtype=torch.int64), of_texts=False)) == 2
    assert isinstance(image_item(0, torch.ones(4, 5, dtype=torch.bool)), np.ndarray)


def test_arrays_of_names_are_never_images() -> None:
    names = np.array([["a.png", "b.png", "c.png"]] * 2)
    assert as_list(names, of_texts=False) == ["a.png", "b.png", "c.png"] * 2
    assert as_list(np.array("a.png"), of_texts=False) == ["a.png"]


def test_open_files_must_give_bytes(tmp_path: Path) -> None:
    closed = io.BytesIO(b"x")
    closed.close()
    for file, message in ((io.StringIO("x"), "open as text"), (closed, "item 4 is a file that cannot be read")):
        with pytest.raises(UsageError, match=message):
            image_item(4, file)


def test_a_table_is_refused() -> None:
    class Table:
        columns = ("path",)

        def __iter__(self) -> Iterator[str]:
            return iter(self.columns)

    for of_texts in (False, True):
        with pytest.raises(UsageError, match="give the column"):
            as_list(Table(), of_texts=of_texts)


@pytest.mark.parametrize("address", ["ftp://a/b.png", "s3://bucket/a.png", "hf://a/b.jpg", "data://x"])
def test_addresses_are_shown_as_they_are(address: str) -> None:
    with pytest.raises(UsageError, match=f"a web address, {address}; download"):
        image_item(0, address)


def test_the_home_folder_may_be_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert image_item(0, "~/a.png") == tmp_path / "a.png"
    assert image_item(0, "~no-such-user/a.png") == Path("~no-such-user/a.png")
    assert image_item(0, "a\0b") == Path("a\0b")


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
