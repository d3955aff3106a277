from pathlib import Path

import pytest

from vlprompt.data.readers.imagenet import read_imagenet, read_numbered_folders, read_wnid_folders
from vlprompt.data.readers.listing import DataError


def imagenet(root: Path, *folders: str, names: str = "n02 crane\nn01 great white shark\nn03 crane\n") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "classnames.txt").write_text(names)
    for folder in folders:
        (root / folder).mkdir(parents=True)
        for name in ("b.JPEG", "a.JPEG", ".hidden.JPEG"):
            (root / folder / name).touch()
    return root


WNIDS = ("n03", "n01", "n02")


def test_labels_follow_the_sorted_folders(tmp_path: Path) -> None:
    root = imagenet(tmp_path, *(f"images/{part}/{wnid}" for part in ("train", "val") for wnid in WNIDS))
    listing = read_imagenet(root, root / "images")
    assert listing.classes == ("great white shark", "crane", "crane")  # equal names are the published ones
    assert [example.label for example in listing.splits.train] == [0, 0, 1, 1, 2, 2]
    assert listing.images.name(listing.splits.test[0].item) == "val/n01/a.JPEG"
    assert listing.splits.val == ()
    assert listing.test_name == "val"


def test_imagenet_can_be_a_test_set_only(tmp_path: Path) -> None:
    root = imagenet(tmp_path, *(f"images/val/{wnid}" for wnid in WNIDS))
    assert [len(part) for part in read_imagenet(root, root / "images").splits] == [0, 0, 6]


def test_train_and_val_must_have_the_same_classes(tmp_path: Path) -> None:
    root = imagenet(tmp_path, "images/train/n01", "images/val/n01", "images/val/n02")
    with pytest.raises(DataError, match="hold different class folders"):
        read_imagenet(root, root / "images")


def test_variants_have_the_classes_of_their_folders_and_ignore_the_readme(tmp_path: Path) -> None:
    root = imagenet(tmp_path, "imagenet-a/n03", "imagenet-a/n01")
    (root / "imagenet-a" / "README.txt").touch()
    listing = read_wnid_folders(root, root / "imagenet-a")
    assert listing.classes == ("great white shark", "crane")
    assert [example.label for example in listing.splits.test] == [0, 0, 1, 1]


def test_class_names_may_be_in_the_folder_of_imagenet(tmp_path: Path) -> None:
    imagenet(tmp_path / "imagenet")
    (tmp_path / "sketch" / "images" / "n01").mkdir(parents=True)
    listing = read_wnid_folders(tmp_path / "sketch", tmp_path / "sketch" / "images")
    assert listing.classes == ("great white shark",)


def test_numbered_folders_follow_the_lines_in_numeric_order(tmp_path: Path) -> None:
    names = "".join(f"n{99 - i:02} name {i}\n" for i in range(11))
    root = imagenet(tmp_path, *(f"v2/{i}" for i in range(11)), names=names)
    listing = read_numbered_folders(root, root / "v2")
    assert listing.classes[10] == "name 10"
    last = listing.splits.test[-1]
    assert (listing.images.name(last.item), last.label) == ("10/b.JPEG", 10)


def test_numbered_folders_must_be_complete(tmp_path: Path) -> None:
    root = imagenet(tmp_path, "v2/0", "v2/1", "v2/3")
    with pytest.raises(DataError, match=r"exactly the folders 0 to 2.*2 are missing or too many, such as 2"):
        read_numbered_folders(root, root / "v2")


def test_errors_name_what_is_wrong(tmp_path: Path) -> None:
    root = imagenet(tmp_path, "a/n01", "a/n99", "empty/.x")
    with pytest.raises(DataError, match=r"does not name: n99"):
        read_wnid_folders(root, root / "a")
    with pytest.raises(DataError, match=r"a folder for each class \(n01440764, ...\), found nothing"):
        read_wnid_folders(root, root / "empty")
    with pytest.raises(DataError, match=r"missing folder .*images.*"):
        read_imagenet(root, root / "images")
    with pytest.raises(DataError, match=r"missing file .*a/classnames.txt"):
        read_wnid_folders(root / "a", root / "a")


@pytest.mark.parametrize(("line", "error"), [("n01", "expected a wnid and a name"), ("n02 x", "n02 is listed twice")])
def test_errors_name_the_line_of_classnames(tmp_path: Path, line: str, error: str) -> None:
    root = imagenet(tmp_path, names=f"n02 crane\n\n{line}\n")
    with pytest.raises(DataError, match=f"classnames.txt, line 3: {error}"):
        read_wnid_folders(root, root)
