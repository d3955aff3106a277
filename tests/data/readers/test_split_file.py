import json
from pathlib import Path

import pytest

from vlprompt.data.images import BadImageError
from vlprompt.data.readers.listing import DataError
from vlprompt.data.readers.split_file import read_split_file
from vlprompt.errors import VlpromptError, VlpromptWarning

GOOD = {"train": [["a/1.jpg", 1, "dog"], ["a/2.jpg", 0, "cat"]], "val": [], "test": [["b/3.jpg", 1, "dog"]]}


def split_file(folder: Path, content: object) -> tuple[Path, Path]:
    (folder / "images").mkdir(exist_ok=True)
    file = folder / "split_zhou_Test.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file, folder / "images"


def test_keeps_order_labels_and_names(tmp_path: Path) -> None:
    listing = read_split_file(*split_file(tmp_path, GOOD))
    assert listing.classes == ("cat", "dog")
    assert [(e.item, e.label) for e in listing.splits.train] == [
        (tmp_path / "images/a/1.jpg", 1),
        (tmp_path / "images/a/2.jpg", 0),
    ]
    assert [len(part) for part in listing.splits] == [2, 0, 1]


def test_a_missing_image_is_an_error_when_it_is_opened(tmp_path: Path) -> None:
    listing = read_split_file(*split_file(tmp_path, GOOD))
    with pytest.raises(BadImageError, match=r"images/b/3.jpg: there is no such file; check the data folder"):
        listing.images.open(listing.splits.test[0].item)


def test_reads_without_touching_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = {**GOOD, "train": [[f"{i}.jpg", 0, "cat"] for i in range(5000)]}
    asked: list[str] = []
    file, images = split_file(tmp_path, many)
    stat = Path.stat
    monkeypatch.setattr(Path, "stat", lambda self, **kw: (asked.append(self.name), stat(self, **kw))[1])
    assert len(read_split_file(file, images).splits.train) == 5000
    assert not any(name.endswith(".jpg") for name in asked)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable JSON: .*line 1"),
        ("[" * 100_000, "not readable JSON"),
        ([], "no split file: expected lists under train, val and test, found list"),
        ({"train": [], "val": []}, "found train, val"),
        ({"train": [["a.jpg", 0]], "val": [], "test": []}, r"train, entry 0: expected \[path, label, class name\]"),
        ({**GOOD, "test": [["a.jpg", "0", "cat"]]}, "test, entry 0"),
        ({**GOOD, "test": [["a.jpg", -1, "cat"]]}, "test, entry 0"),
        ({**GOOD, "val": [["a.jpg", 0, "dog"]]}, "val, entry 0: label 0 is both 'cat' and 'dog'"),
        ({**GOOD, "val": [["a.jpg", 3, "fox"]]}, r"no entry has the label 2"),
        ({"train": [], "val": [], "test": []}, "expected a list of names"),
        ({**GOOD, "val": [["a.jpg", 2, " "]]}, "class 2 has an empty name"),
    ],
)
def test_errors_name_what_is_wrong(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(VlpromptError, match=message) as caught:
        read_split_file(*split_file(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_two_labels_with_one_name_are_warned_about(tmp_path: Path) -> None:
    with pytest.warns(VlpromptWarning, match=r"more than once: dog \(classes 1, 2\)"):
        read_split_file(*split_file(tmp_path, {**GOOD, "val": [["a.jpg", 2, "dog"]]}))


def test_missing_files_and_folders(tmp_path: Path) -> None:
    file, images = split_file(tmp_path, GOOD)
    with pytest.raises(DataError, match=r"missing file .*other.json"):
        read_split_file(tmp_path / "other.json", images)
    with pytest.raises(DataError, match=r"missing folder .*jpg"):
        read_split_file(file, tmp_path / "jpg")


@pytest.mark.parametrize("label", [2, 10**9, 99999999999999999999999])
def test_a_huge_label_is_one_line(tmp_path: Path, label: int) -> None:
    file = tmp_path / "split.json"
    file.write_text(f'{{"train": [["a.jpg", 0, "cat"], ["b.jpg", {label}, "dog"]], "val": [], "test": []}}')
    with pytest.raises(DataError, match="no entry has the label 1; labels must count from 0 without gaps"):
        read_split_file(file, tmp_path)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"[" + b"9" * 5000 + b"]", b'["\\ud800"]', b"\xff", b"[NaN]", b""])
def test_hostile_json_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "split.json").write_bytes(content)
    with pytest.raises(DataError, match=r"split.json is not readable JSON: .*; get it again"):
        read_split_file(tmp_path / "split.json", tmp_path)
