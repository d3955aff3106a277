import gzip
from pathlib import Path

import numpy as np
import pytest

from vlprompt.data.readers.idx import read_idx, read_idx_pair
from vlprompt.data.readers.listing import DataError


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("packed", [False, True])
def test_images_and_labels(tmp_path: Path, packed: bool) -> None:
    for what, array in (("images-idx3", IMAGES), ("labels-idx1", np.array([7, 2], np.uint8))):
        data = gzip.compress(idx(array)) if packed else idx(array)
        (tmp_path / f"t10k-{what}-ubyte{'.gz' if packed else ''}").write_bytes(data)
    part, labels = read_idx_pair(tmp_path, "t10k")
    assert np.array_equal(part.pixels, IMAGES)
    assert labels == [7, 2]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", r"images is no IDX file of bytes in 3 dimensions; get it again.$"),
        (idx(IMAGES)[:10], r"is no IDX file of bytes"),
        (idx(IMAGES[0]), r"is no IDX file of bytes in 3 dimensions"),
        (bytes([0, 0, 13, 3]) + idx(IMAGES)[4:], r"is no IDX file of bytes"),
        (idx(IMAGES)[:-1], r"images is damaged: its header gives 2x3x4, 23 bytes follow; get it again.$"),
        (idx(IMAGES) + b"x", r"is damaged: its header gives 2x3x4, 25 bytes follow"),
    ],
)
def test_damaged_files(tmp_path: Path, data: bytes, error: str) -> None:
    (tmp_path / "images").write_bytes(data)
    with pytest.raises(DataError, match=error):
        read_idx(tmp_path / "images", 3)


def test_damaged_archives(tmp_path: Path) -> None:
    whole = gzip.compress(idx(IMAGES))
    for data in (b"no archive", whole[:-9], whole[:12] + bytes(9) + whole[21:]):
        (tmp_path / "images.gz").write_bytes(data)
        with pytest.raises(DataError, match=r"images.gz cannot be unpacked: .*; get it again.$"):
            read_idx(tmp_path / "images.gz", 3)


def test_there_must_be_as_many_labels_as_images(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(IMAGES))
    with pytest.raises(DataError, match=r"missing file .*train-labels-idx1-ubyte"):
        read_idx_pair(tmp_path, "train")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(3, np.uint8)))
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte has 3 labels, .*images-idx3-ubyte has 2 images"):
        read_idx_pair(tmp_path, "train")
