import json
from pathlib import Path
from typing import Any

import pytest

from vlprompt.data.readers.listing import DataError
from vlprompt.data.readers.vpt import plain_name, read_vpt_lists

LISTS = {
    "train": {"001.Black_Tern/1.jpg": 4, "n01-Chihuahua/2.jpg": 9, "001.Black_Tern/3.jpg": 4},
    "val": {"n01-Chihuahua/4.jpg": 9},
    "test": {"001.Black_Tern/5.jpg": 4},
}


def made(root: Path, lists: dict[str, Any]) -> Path:
    (root / "images").mkdir(exist_ok=True)
    for part, own in lists.items():
        (root / f"{part}.json").write_text(own if isinstance(own, str) else json.dumps(own))
    return root


def test_labels_count_the_classes_and_folders_name_them(tmp_path: Path) -> None:
    listing = read_vpt_lists(made(tmp_path, LISTS), tmp_path / "images")
    assert listing.classes == ("Black_Tern", "Chihuahua")
    found = [[(listing.images.name(e.item), e.label) for e in part] for part in listing.splits]
    assert found[0] == [("001.Black_Tern/1.jpg", 0), ("n01-Chihuahua/2.jpg", 1), ("001.Black_Tern/3.jpg", 0)]
    assert found[1:] == [[("n01-Chihuahua/4.jpg", 1)], [("001.Black_Tern/5.jpg", 0)]]


def test_classes_in_one_folder_are_numbered(tmp_path: Path) -> None:
    flat = {"train": {"jpg/1.jpg": 1, "jpg/2.jpg": 7}, "val": {"jpg/3.jpg": 1}, "test": {"jpg/4.jpg": 7}}
    assert read_vpt_lists(made(tmp_path, flat), tmp_path / "images").classes == ("class 1", "class 7")


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("001.Black_footed_Albatross", "Black_footed_Albatross"),
        ("n02085620-Chihuahua", "Chihuahua"),
        ("n02107574-Greater_Swiss-Mountain", "Greater_Swiss-Mountain"),
        ("Mercedes-Benz", "Mercedes-Benz"),
        ("St.Bernard", "St.Bernard"),
        ("0817", "0817"),
        ("7-", "7-"),
    ],
)
def test_names_from_folders(folder: str, name: str) -> None:
    assert plain_name(folder) == name


@pytest.mark.parametrize(
    ("part", "own", "error"),
    [
        ("train", "{", r"train.json is not readable JSON: .*; get it again.$"),
        ("val", [], r"val.json is no list of images: expected one object of paths and class numbers$"),
        ("test", {}, r"test.json is no list of images"),
        ("val", {"a.jpg": "1"}, r"val.json: 'a.jpg' has class '1'; expected a number$"),
        ("val", {"a.jpg": True}, r"val.json: 'a.jpg' has class True; expected a number$"),
        ("test", {"a/1.jpg": 5}, r"test.json has class 5, which train.json has not$"),
    ],
)
def test_lists_that_are_damaged(tmp_path: Path, part: str, own: Any, error: str) -> None:
    made(tmp_path, LISTS | {part: own})
    with pytest.raises(DataError, match=error):
        read_vpt_lists(tmp_path, tmp_path / "images")


def test_a_list_that_is_missing(tmp_path: Path) -> None:
    (made(tmp_path, LISTS) / "val.json").unlink()
    with pytest.raises(DataError, match=r"missing file .*val.json \(its folder holds images, test.json"):
        read_vpt_lists(tmp_path, tmp_path / "images")
