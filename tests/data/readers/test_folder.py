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
    fill(tmp_path / "train", draw_image, {"a": 2, "b": 1})
    fill(tmp_path / "val", draw_image, {"a": 1, "b": 1})
    listing = read_folder(tmp_path)
    assert [len(part) for part in listing.splits] == [3, 0, 2]
    assert listing.test_name == "val"


def test_train_alone_is_split(tmp_path: Path, draw_image: Draw) -> None:
    listing = read_folder(fill(tmp_path / "train", draw_image, {"a": 10, "b": 10}).parent)
    assert [len(part) for part in listing.splits] == [10, 4, 6]
    assert listing.images.name(listing.splits.test[0].item).startswith("train/a/")


def test_finds_images_by_any_suffix_and_nothing_else(tmp_path: Path, draw_image: Draw) -> None:
    fill(tmp_path, draw_image, {"a": 1, "b": 1, ".git": 3})
    draw_image(tmp_path / "a" / "deeper" / "x.PNG")
    draw_image(tmp_path / "a" / ".hidden.png")
    (tmp_path / "README.md").touch()
    (tmp_path / "a" / "UPPER.JPEG").touch()  # opened later, if ever
    listing = read_folder(tmp_path)
    names = {listing.images.name(example.item) for part in listing.splits for example in part}
    assert listing.classes == ("a", "b")
    assert names == {"b/0.png", "a/0.png", "a/deeper/x.PNG", "a/UPPER.JPEG"}


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
    fill(tmp_path, draw_image, {"_": 1, "a": 1})
    with pytest.raises(VlpromptError, match="class 0 has an empty name"):
        read_folder(tmp_path)


@pytest.mark.parametrize("name", ["train", "Test", "val", "dev"])
def test_a_class_may_be_called_as_a_split(tmp_path: Path, draw_image: Draw, name: str) -> None:
    assert read_folder(fill(tmp_path, draw_image, {"bus": 4, "car": 4, name: 4})).classes == tuple(
        sorted(("bus", "car", name))
    )


def test_a_class_called_train_may_have_folders_where_other_classes_are_beside_it(
    tmp_path: Path, draw_image: Draw
) -> None:
    listing = read_folder(fill(tmp_path, draw_image, {"bus": 2, "train/steam": 2, "train/diesel": 2}))
    assert listing.classes == ("bus", "train")
    assert sum(map(len, listing.splits)) == 6


def test_a_folder_without_images_beside_the_splits_is_named(tmp_path: Path, draw_image: Draw) -> None:
    fill(tmp_path, draw_image, {"train/a": 1, "train/b": 1, "test/a": 1, "test/b": 1, "notes": 0})
    with pytest.warns(VlpromptWarning, match="left out because they hold no images and are not splits: notes"):
        assert read_folder(tmp_path).classes == ("a", "b")


def test_images_of_a_test_folder_without_classes_are_unlabelled(tmp_path: Path, draw_image: Draw) -> None:
    fill(tmp_path, draw_image, {"train/a": 2, "train/b": 2, "test": 3})
    with pytest.warns(VlpromptWarning, match="its 3 images are unlabelled test images"):
        assert [example.label for example in read_folder(tmp_path).splits.test] == [-1] * 3


@pytest.mark.parametrize("layout", [("{}",), ("data/{}",), ("train/all/{}", "test/all/{}")])
def test_a_folder_too_high_is_warned_about(tmp_path: Path, draw_image: Draw, layout: tuple[str, ...]) -> None:
    fill(tmp_path / "photos", draw_image, {each.format(name): 2 for each in layout for name in ("cat", "dog")})
    with pytest.warns(VlpromptWarning, match=r"has a single class, .* are in the folders .*give the folder above them"):
        read_folder(tmp_path if len(layout) == 1 else tmp_path / "photos")


def test_all_classes_deeper_are_warned_about(tmp_path: Path, draw_image: Draw) -> None:
    fill(tmp_path, draw_image, {"2023/cat": 2, "2023/dog": 2, "2024/cat": 2})
    with pytest.warns(VlpromptWarning, match=r"no class folder \(2023, 2024\) has images of its own"):
        read_folder(tmp_path)


def test_files_of_other_kinds_are_counted_in_one_warning(tmp_path: Path, draw_image: Draw) -> None:
    fill(tmp_path, draw_image, {"a": 2, "b": 2})
    for name in ("a/1.raw", "a/2.RAW", "b/notes.txt", "b/Thumbs.db", "b/.DS_Store", "b/plain"):
        (tmp_path / name).write_text("x")
    with pytest.warns(VlpromptWarning) as caught:
        read_folder(tmp_path)
    assert [str(each.message).partition(": ")[2] for each in caught] == [
        "4 files are left out because of their suffix: .raw (2), .txt (1), no suffix (1); convert those that are images"
    ]
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "1.raw").write_text("x")
    with pytest.raises(VlpromptError, match=r"class 'c' .* has no images \(5 files of other kinds: .raw, .txt, no suf"):
        read_folder(tmp_path)


def test_images_beside_the_class_folders_are_counted(tmp_path: Path, draw_image: Draw) -> None:
    fill(tmp_path, draw_image, {"a": 2, "b": 2, ".": 3})
    with pytest.warns(VlpromptWarning, match="3 images are in no class folder and are left out"):
        read_folder(tmp_path)


@pytest.mark.parametrize("pair", [("Cat", "cat"), ("hot_dog", "hot dog"), ("A&amp;B", "a&b"), ("ｃａｔ", "cat")])
def test_names_of_train_and_test_that_read_the_same_are_named(
    tmp_path: Path, draw_image: Draw, pair: tuple[str, str]
) -> None:
    fill(tmp_path, draw_image, {f"train/{pair[0]}": 1, "train/dog": 1, f"test/{pair[1]}": 1, "test/dog": 1})
    with pytest.warns(VlpromptWarning, match="class names appear more than once"):
        read_folder(tmp_path)


def test_numbers_are_sorted_as_numbers(tmp_path: Path, draw_image: Draw) -> None:
    listing = read_folder(fill(tmp_path, draw_image, dict.fromkeys(("10", "9", "1", "-2", "1.5", "zoo"), 2)))
    assert listing.classes == ("-2", "1", "1.5", "9", "10", "zoo")


def test_links_to_a_folder_above_end(tmp_path: Path, draw_image: Draw) -> None:
    fill(tmp_path, draw_image, {"a": 2, "b": 2})
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert sum(map(len, read_folder(tmp_path).splits)) == 4
