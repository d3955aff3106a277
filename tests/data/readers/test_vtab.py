from pathlib import Path

import pytest

from vlprompt.data.readers.listing import DataError
from vlprompt.data.readers.vtab import read_vtab
from vlprompt.errors import UsageError

LISTS = {
    "train800": "images/train/a b.png 0\nimages/train/2.png 2\n",
    "val200": "images/val/3.png 1\n\n",
    "train800val200": "images/train/a b.png 0\nimages/train/2.png 2\nimages/val/3.png 1\n",
    "test": "images/test/4.png 2\n",
}


def kitti(root: Path, **more: str) -> Path:
    (root / "kitti").mkdir()
    for name, text in (LISTS | more).items():
        (root / "kitti" / f"{name}.txt").write_text(text)
    return root


def test_800_training_and_200_validation_images(tmp_path: Path) -> None:
    listing = read_vtab(kitti(tmp_path), "kitti", 3)
    assert listing.classes == ("class 0", "class 1", "class 2")
    found = [[(listing.images.name(e.item), e.label) for e in part] for part in listing.splits]
    assert found[0] == [("images/train/a b.png", 0), ("images/train/2.png", 2)]
    assert found[1:] == [[("images/val/3.png", 1)], [("images/test/4.png", 2)]]


def test_final_training_uses_both(tmp_path: Path) -> None:
    kitti(tmp_path)
    tuning, final = (read_vtab(tmp_path, part, 3) for part in ("kitti", "kitti-final"))
    assert final.splits.train == tuning.splits.train + tuning.splits.val
    assert final.splits.val == ()
    assert final.splits.test == tuning.splits.test


def test_class_names_are_read_if_there_are_some(tmp_path: Path) -> None:
    (kitti(tmp_path) / "kitti" / "classnames.txt").write_text("near\nfar\n\nvery far\n")
    assert read_vtab(tmp_path, "kitti", 3).classes == ("near", "far", "very far")
    with pytest.raises(DataError, match=r"classnames.txt names 3 classes, the task has 4$"):
        read_vtab(tmp_path, "kitti", 4)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("images/5.png", r"test.txt, line 1: expected a path and a label, found 'images/5.png'$"),
        ("images/5.png 3", r"test.txt, line 1: label '3'; labels go from 0 to 2$"),
        ("images/5.png -1", r"test.txt, line 1: label '-1'; labels go from 0 to 2$"),
        ("images/5.png one", r"test.txt, line 1: label 'one'"),
        ("", r"test.txt lists no images$"),
    ],
)
def test_lists_that_are_damaged(tmp_path: Path, line: str, error: str) -> None:
    with pytest.raises(DataError, match=error):
        read_vtab(kitti(tmp_path, test=line), "kitti", 3)


def test_errors_name_what_is_missing(tmp_path: Path) -> None:
    (kitti(tmp_path) / "kitti" / "val200.txt").unlink()
    assert len(read_vtab(tmp_path, "kitti-final", 3).splits.train) == 3
    with pytest.raises(DataError, match=r"missing file .*kitti/val200.txt \(its folder holds .*\).$"):
        read_vtab(tmp_path, "kitti", 3)
    with pytest.raises(DataError, match=r"missing folder .*/svhn \(its folder holds kitti\)"):
        read_vtab(tmp_path, "svhn", 10)
    with pytest.raises(UsageError, match=r"^'vtab' is no task of VTAB-1k; name one, as vtab/cifar or"):
        read_vtab(tmp_path, "", 3)
    with pytest.raises(UsageError, match=r"'vtab/kitti-all' is no task"):
        read_vtab(tmp_path, "kitti-all", 3)
