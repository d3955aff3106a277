from pathlib import Path

import pytest

from vlprompt.data.readers.folder import read_folder
from vlprompt.errors import VlpromptError, VlpromptWarning

from ..conftest import Draw


def fill(root: Path, draw: Draw, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            draw(root / name / f"{i}.png")
    return root


def test_splits_class_folders_by_the_seed(tmp_path: Path, draw_image: Draw) -> None:
    root = fill(tmp_path, draw_image, {"cat": 10, "ant": 10})
    listing = read_folder(root)
    assert listing.classes == ("ant", "cat")
    items = [example.item for part in listing.splits for example in part]
    assert len(set(items)) == 20
    assert [len(part) for part in listing.splits] == [10, 4, 6]
    assert read_folder(root).splits == listing.splits
    assert read_folder(root, split_seed=1).splits != listing.splits


def test_uses_existing_splits(tmp_path: Path, draw_image: Draw) -> None:
    fill(tmp_path / "Train", draw_image, {"a": 2, "b": 1})
    fill(tmp_path / "valid", draw_image, {"b": 1})
    fill(tmp_path / "test", draw_image, {"a": 1, "c": 3})
    listing = read_folder(tmp_path)
    assert listing.classes == ("a", "b", "c")
    assert [[example.label for example in part] for part in listing.splits] == [[0, 0, 1], [1], [0, 2, 2, 2]]
    assert listing.test_name == "test"


def test_without_test_val_is_the_test_split(tmp_path: Path, draw_image: Draw) -> None:
    fill(tmp_path / "train", draw_image, {"a": 2})
    fill(tmp_path / "val", draw_image, {"a": 1})
    listing = read_folder(tmp_path)
    assert [len(part) for part in listing.splits] == [2, 0, 1]
    assert listing.test_name == "val"


def test_train_alone_is_split(tmp_path: Path, draw_image: Draw) -> None:
    listing = read_folder(fill(tmp_path / "train", draw_image, {"a": 10}).parent)
    assert [len(part) for part in listing.splits] == [5, 2, 3]
    assert listing.images.name(listing.splits.test[0].item).startswith("train/a/")


def test_finds_images_by_any_suffix_and_nothing_else(tmp_path: Path, draw_image: Draw) -> None:
    fill(tmp_path, draw_image, {"a": 1, ".git": 3})
    draw_image(tmp_path / "a" / "deeper" / "x.PNG")
    draw_image(tmp_path / "a" / ".hidden.png")
    (tmp_path / "a" / "note.txt").touch()
    (tmp_path / "README.md").touch()
    (tmp_path / "a" / "UPPER.JPEG").touch()  # opened later, if ever
    listing = read_folder(tmp_path)
    names = {listing.images.name(example.item) for part in listing.splits for example in part}
    assert listing.classes == ("a",)
    assert names == {"a/0.png", "a/deeper/x.PNG", "a/UPPER.JPEG"}


def test_follows_links(tmp_path: Path, draw_image: Draw) -> None:
    real = draw_image(tmp_path / "real" / "1.png")
    (tmp_path / "set" / "a").mkdir(parents=True)
    (tmp_path / "set" / "a" / "link.png").symlink_to(real)
    (tmp_path / "set" / "b").symlink_to(real.parent)
    listing = read_folder(tmp_path / "set")
    assert listing.classes == ("a", "b")
    assert listing.images.open(listing.splits.train[0].item).size == (40, 30)


def test_errors_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(VlpromptError, match=r"missing folder .*photos \(its folder holds nothing\)"):
        read_folder(tmp_path / "photos")
    with pytest.raises(VlpromptError, match=r"nowhere is missing too"):
        read_folder(tmp_path / "nowhere" / "photos")
    (tmp_path / "file").touch()
    with pytest.raises(VlpromptError, match="file should be a folder"):
        read_folder(tmp_path / "file")


def test_errors_name_the_expected_layout_and_the_contents(tmp_path: Path, draw_image: Draw) -> None:
    for i in range(8):
        draw_image(tmp_path / f"{i}.png")
    with pytest.raises(VlpromptError, match=r"<class>/<image>, found 0.png, 1.png, .*5.png, \.\.\.$"):
        read_folder(tmp_path)


@pytest.mark.parametrize("above", [".", "train"])
def test_a_class_without_images_is_an_error(tmp_path: Path, draw_image: Draw, above: str) -> None:
    fill(tmp_path / above, draw_image, {"full": 1, "void": 0})
    fill(tmp_path / "val" if above == "train" else tmp_path, draw_image, {"full": 1})
    with pytest.raises(VlpromptError, match=r"class 'void' in .* has no images"):
        read_folder(tmp_path)


def test_names_with_the_same_words_are_warned_about(tmp_path: Path, draw_image: Draw) -> None:
    fill(tmp_path, draw_image, {"black cat": 1, "black_cat": 1})
    with pytest.warns(VlpromptWarning, match=r"more than once: black cat \(classes 0, 1\)"):
        read_folder(tmp_path)


def test_a_class_name_without_words_is_an_error(tmp_path: Path, draw_image: Draw) -> None:
    fill(tmp_path, draw_image, {"_": 1})
    with pytest.raises(VlpromptError, match="class 0 has an empty name"):
        read_folder(tmp_path)
