from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from vlprompt.data.readers.dogs import read_stanford_dogs
from vlprompt.data.readers.listing import DataError

BREEDS = ("n02085620-Chihuahua", "n02085782-Japanese_spaniel")


def written(file: Path, paths: list[str], labels: list[int]) -> None:
    """Write a file like the authors': a cell of paths, a column of numbers."""
    cell = np.empty((len(paths), 1), dtype=object)
    cell[:, 0] = paths
    savemat(file, {"file_list": cell, "labels": np.array(labels, dtype=np.float64)[:, None]})


def dogs(root: Path) -> Path:
    (root / "Images").mkdir()
    paths = [f"{breed}/{i}.jpg" for breed in BREEDS for i in range(20)]
    written(root / "train_list.mat", paths, [1] * 20 + [2] * 20)
    written(root / "test_list.mat", [f"{BREEDS[1]}/90.jpg", f"{BREEDS[0]}/91.jpg"], [2, 1])
    return root


def test_lists_as_published(tmp_path: Path) -> None:
    listing = read_stanford_dogs(dogs(tmp_path), tmp_path / "Images")
    assert listing.classes == ("Chihuahua", "Japanese_spaniel")
    assert [len(part) for part in listing.splits] == [36, 4, 2]
    names = [(listing.images.name(e.item), e.label) for e in listing.splits.test]
    assert names == [("n02085782-Japanese_spaniel/90.jpg", 1), ("n02085620-Chihuahua/91.jpg", 0)]
    assert all(BREEDS[e.label] in str(e.item) for part in listing.splits for e in part)


@pytest.mark.parametrize(
    ("paths", "labels", "error"),
    [
        (["a/1.jpg", "b/2.jpg"], [1], r"test_list.mat lists 2 images and 1 labels; get it again.$"),
        ([], [], r"test_list.mat lists 0 images and 0 labels"),
        ([f"{BREEDS[0]}/1.jpg"], [2], r"entry 0: label 2 is both 'n02085782-Japanese_spaniel' and 'n02085620-Chi"),
        (["1.jpg"], [1], r"test_list.mat, entry 0: expected BREED/IMAGE and a label from 1, found '1.jpg'$"),
        (["a/1.jpg"], [0], r"expected BREED/IMAGE and a label from 1"),
        (["d/1.jpg"], [4], r"no entry has the label 3; labels must count from 1 without gaps$"),
    ],
)
def test_lists_that_contradict_each_other(tmp_path: Path, paths: list[str], labels: list[int], error: str) -> None:
    written(dogs(tmp_path) / "test_list.mat", paths, labels)
    with pytest.raises(DataError, match=error):
        read_stanford_dogs(tmp_path, tmp_path / "Images")


def test_files_that_are_damaged_or_missing(tmp_path: Path) -> None:
    file = dogs(tmp_path) / "train_list.mat"
    whole = file.read_bytes()
    for data in (b"", b"no matlab", whole[:200], whole[: len(whole) // 2], whole[:128] + bytes(300)):
        file.write_bytes(data)
        error = r"train_list.mat (is not a readable .mat file: .*; get it again|has no 'file_list')"
        with pytest.raises(DataError, match=error) as caught:
            read_stanford_dogs(tmp_path, tmp_path / "Images")
        assert "\n" not in str(caught.value)
        assert str(caught.value).endswith(".")
    savemat(file, {"other": np.zeros(3)})
    with pytest.raises(DataError, match=r"train_list.mat has no 'file_list'; it holds other.$"):
        read_stanford_dogs(tmp_path, tmp_path / "Images")
    file.unlink()
    with pytest.raises(DataError, match=r"missing file .*train_list.mat"):
        read_stanford_dogs(tmp_path, tmp_path / "Images")
