from pathlib import Path

import pytest

from vlprompt.data.readers import listing
from vlprompt.data.readers.listing import DataError, LabelNames, contents, need_images, read_json, split_groups


def test_labels_count_the_groups() -> None:
    splits = split_groups({"b": [Path(f"b{i}") for i in range(4)], "a": [Path("a0")]}, seed=0)
    assert [example.label for example in splits.train] == [0, 0, 0, 1]
    assert [example.label for example in splits.test] == [0]


def test_contents_of_a_folder(tmp_path: Path) -> None:
    assert contents(tmp_path) == "nothing"
    for name in "hgfedcba.":
        (tmp_path / f"{name}x").touch()
    assert contents(tmp_path) == "ax, bx, cx, dx, ex, fx, ..."


def test_images_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").touch()
    with pytest.raises(DataError, match=r"has no images; it holds readme.txt\.$"):
        need_images(tmp_path)
    for name in ("b.png", "a.jpg", ".hidden.png"):
        (tmp_path / name).touch()
    assert [path.name for path in need_images(tmp_path)] == ["a.jpg", "b.png"]
    with pytest.raises(DataError, match=r"missing folder .*gone \(its folder holds a.jpg"):
        need_images(tmp_path / "gone")


def test_names_of_labels_must_agree_and_have_no_gaps() -> None:
    names = LabelNames()
    for label, name in ((2, "cat"), (1, "dog"), (2, "cat")):
        names.add(label, name, "here")
    assert names.in_order("list", first=1) == ["dog", "cat"]
    with pytest.raises(DataError, match="list: no entry has the label 0; labels must count from 0 without gaps"):
        names.in_order("list")
    with pytest.raises(DataError, match="line 4: label 1 is both 'dog' and 'fox'"):
        names.add(1, "fox", "line 4")
    assert LabelNames().in_order("list") == []


def test_json_that_is_damaged_or_missing(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    with pytest.raises(DataError, match=r"missing file .*a.json"):
        read_json(file)
    file.write_text("{")
    with pytest.raises(DataError, match=r"a.json is not readable JSON: .*; get it again\.$"):
        read_json(file)


def test_a_folder_that_the_system_does_not_list_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.scandir", refuse)
    for read in (listing.subfolders, listing.images_below, listing.contents):
        with pytest.raises(listing.DataError, match=r"cannot be listed \(Permission denied\); check its permissions"):
            read(tmp_path)
