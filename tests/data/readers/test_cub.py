from pathlib import Path

import pytest

from vlprompt.data.readers.cub import read_cub
from vlprompt.data.readers.listing import DataError

LISTS = {
    "classes": "1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n",
    "images": "".join(f"{i} 00{1 + i % 2}.X/{i}.jpg\n" for i in range(1, 41)),
    "image_class_labels": "".join(f"{i} {1 + i % 2}\n" for i in range(1, 41)),
    "train_test_split": "".join(f"{i} {int(i > 10)}\n" for i in range(1, 41)),
}
BIRDS = {
    "classes": "0 Birds\n817 Dark-eyed Junco (Slate-colored)\n1000 Tufted Titmouse\n9 Never Seen\n",
    "images": "a-1 1000/x.jpg\nb-2 0817/y.jpg\n",
    "image_class_labels": "b-2 817\na-1 1000\n",
    "train_test_split": "a-1 1\nb-2 0\n",
}


def made(root: Path, lists: dict[str, str]) -> Path:
    (root / "images").mkdir(exist_ok=True)
    for name, text in lists.items():
        (root / f"{name}.txt").write_text(text)
    return root


def test_the_published_split_with_a_tenth_of_train_held_out(tmp_path: Path) -> None:
    listing = read_cub(made(tmp_path, LISTS), tmp_path / "images")
    assert listing.classes == ("Black_footed_Albatross", "Laysan_Albatross")
    assert [len(part) for part in listing.splits] == [28, 2, 10]
    names = [listing.images.name(example.item) for example in listing.splits.test]
    assert names == [f"00{1 + i % 2}.X/{i}.jpg" for i in range(1, 11)]
    assert [example.label for example in listing.splits.test] == [i % 2 for i in range(1, 11)]
    assert sorted(example.label for example in listing.splits.val) == [0, 1]
    assert len({example.item for part in listing.splits for example in part}) == 40
    assert read_cub(tmp_path, tmp_path / "images").splits == listing.splits


def test_nabirds_has_other_numbers_and_classes_without_images(tmp_path: Path) -> None:
    listing = read_cub(made(tmp_path, BIRDS), tmp_path / "images")
    assert listing.classes == ("Dark-eyed Junco (Slate-colored)", "Tufted Titmouse")
    assert [(e.item.name, e.label) for e in listing.splits.train] == [("x.jpg", 1)]  # type: ignore[union-attr]
    assert [(e.item.name, e.label) for e in listing.splits.test] == [("y.jpg", 0)]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("images", "1 a.jpg\n\n2\n", r"images.txt, line 3: expected a number and a path, found '2'$"),
        ("images", "1 a.jpg\n1 b.jpg\n", r"images.txt, line 2: 1 is listed twice$"),
        ("image_class_labels", "1 1\n", r"labels.txt has no line for image 10 \(39 differ from images"),
        ("train_test_split", LISTS["train_test_split"] + "99 1\n", r"has a line for unknown image 99 \(1 differ"),
        ("image_class_labels", LISTS["image_class_labels"].replace("7 2", "7 3"), r"image 7 has unknown class 3$"),
        ("train_test_split", LISTS["train_test_split"].replace("7 0", "7 x"), r"image 7 has 'x', neither 0 nor 1$"),
        ("classes", "1 001.A\n2\n", r"classes.txt, line 2: expected a number and a class, found '2'$"),
    ],
)  # fmt: skip
def test_lists_that_are_damaged(tmp_path: Path, name: str, text: str, error: str) -> None:
    made(tmp_path, LISTS | {name: text})
    with pytest.raises(DataError, match=error) as caught:
        read_cub(tmp_path, tmp_path / "images")
    assert "\n" not in str(caught.value)


def test_lists_that_are_missing_or_no_text(tmp_path: Path) -> None:
    made(tmp_path, LISTS)
    (tmp_path / "images.txt").write_bytes(b"1 a\n2 \xff\n")
    with pytest.raises(DataError, match=r"images.txt, line 2: not UTF-8"):
        read_cub(tmp_path, tmp_path / "images")
    made(tmp_path, LISTS)
    (tmp_path / "train_test_split.txt").unlink()
    with pytest.raises(DataError, match=r"missing file .*train_test_split.txt .*"):
        read_cub(tmp_path, tmp_path / "images")
    made(tmp_path, LISTS)
    with pytest.raises(DataError, match=r"missing folder .*pictures \("):
        read_cub(tmp_path, tmp_path / "pictures")
