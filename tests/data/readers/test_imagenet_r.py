from pathlib import Path

import pytest

from vlprompt.data.readers.imagenet_r import read_imagenet_r
from vlprompt.data.readers.listing import DataError
from vlprompt.errors import UsageError

WNIDS = ("n01", "n02", "n03")


def made(root: Path, *parts: str) -> Path:
    """Ten empty images of each of three classes, in each of the parts ("" for none)."""
    root.mkdir(exist_ok=True)
    (root / "classnames.txt").write_text("n01 tench\nn02 shark\nn03 ray\n")
    for part in parts:
        for wnid in WNIDS:
            folder = root / "images" / part / wnid
            folder.mkdir(parents=True)
            for number in range(10):
                (folder / f"art_{number}.jpg").touch()
    return root


def names(listing: object, part: int) -> list[tuple[str, int]]:
    return [(listing.images.name(e.item), e.label) for e in listing.splits[part]]  # type: ignore[attr-defined]


def test_our_split_is_four_fifths_of_each_class(tmp_path: Path) -> None:
    listing = read_imagenet_r(made(tmp_path, ""), tmp_path / "images")
    assert listing.classes == ("tench", "shark", "ray")
    assert [len(part) for part in listing.splits] == [24, 0, 6]
    assert [label for _, label in names(listing, 2)] == [0, 0, 1, 1, 2, 2]
    assert len({name for part in (0, 2) for name, _ in names(listing, part)}) == 30
    again = read_imagenet_r(tmp_path, tmp_path / "images")
    assert again.splits == listing.splits
    other = read_imagenet_r(tmp_path, tmp_path / "images", split_seed=1)
    assert names(other, 2) != names(listing, 2)


def test_folders_of_the_ports(tmp_path: Path) -> None:
    root = made(tmp_path, "train", "test")
    listing = read_imagenet_r(root, root / "images", "folders")
    assert [len(part) for part in listing.splits] == [30, 0, 30]
    assert names(listing, 2)[10] == ("test/n02/art_0.jpg", 1)
    with pytest.raises(UsageError, match=r"images is split into folders already; use imagenet_r_split/folders.$"):
        read_imagenet_r(root, root / "images")
    (root / "images" / "train" / "n02").rename(root / "n02")
    with pytest.raises(DataError, match=r"images: train and test hold different class folders, such as n02$"):
        read_imagenet_r(root, root / "images", "folders")


def test_lists_of_coda_prompt(tmp_path: Path) -> None:
    root = made(tmp_path, "")
    (root / "imagenet-r_train.yaml").write_text(
        "data:\n- data/imagenet-r/n02/art_3.jpg\n- n01/art_1.jpg\ntargets:\n- 1\n- 0\n"
    )
    (root / "imagenet-r_test.yaml").write_text("data:\n- 'data/imagenet-r/n03/art_0.jpg'\ntargets:\n- 2\n")
    listing = read_imagenet_r(root, root / "images", "coda")
    assert names(listing, 0) == [("n02/art_3.jpg", 1), ("n01/art_1.jpg", 0)]
    assert names(listing, 2) == [("n03/art_0.jpg", 2)]
    assert all(Path(str(e.item)).is_file() for part in listing.splits for e in part)


def test_lists_that_are_damaged_or_missing(tmp_path: Path) -> None:
    root = made(tmp_path, "")
    (root / "imagenet-r_train.yaml").write_text("data:\n- n01/a.jpg\n- n09/b.jpg\n")
    with pytest.raises(DataError, match=r"imagenet-r_train.yaml, line 3: n09 is no class folder of .*images$"):
        read_imagenet_r(root, root / "images", "coda")
    (root / "imagenet-r_train.yaml").write_text("data:\ntargets:\n- 1\n")
    with pytest.raises(DataError, match=r"imagenet-r_train.yaml lists no images.$"):
        read_imagenet_r(root, root / "images", "coda")
    (root / "imagenet-r_train.yaml").unlink()
    with pytest.raises(DataError, match=r"missing file .*imagenet-r_train.yaml .*$"):
        read_imagenet_r(root, root / "images", "coda")
    with pytest.raises(UsageError, match=r"unknown split of imagenet_r_split 'codas'; did you mean 'coda'"):
        read_imagenet_r(root, root / "images", "codas")
