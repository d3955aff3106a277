from pathlib import Path

import numpy as np
import pytest

from vlprompt.data.readers.cifar import CIFAR10, CIFAR100, read_cifar
from vlprompt.data.readers.listing import DataError

NAMES = ["airplane", "automobile", "bird"]


def records(labels: list[int], coarse: bool = False) -> bytes:
    """Records of the binary version: labels, then all of red, green and blue; the pixels depend on the label."""
    table = np.zeros((len(labels), 3072 + 1 + coarse), np.uint8)
    for row, label in enumerate(labels):
        table[row, : 1 + coarse] = [77, label] if coarse else [label]
        table[row, 1 + coarse :] = np.arange(3072) // 1024 * 100 + label
    return table.tobytes()


def ten(root: Path) -> Path:
    place = root / "cifar-10-batches-bin"
    place.mkdir(parents=True)
    for number in range(1, 6):
        (place / f"data_batch_{number}.bin").write_bytes(records([number % 3, (number + 1) % 3]))
    (place / "test_batch.bin").write_bytes(records([2, 0, 1]))
    (place / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    return place


def test_cifar10(tmp_path: Path) -> None:
    place = ten(tmp_path)
    listing = read_cifar(tmp_path, CIFAR10)
    assert listing.classes == tuple(NAMES)
    assert [len(part) for part in listing.splits] == [10, 0, 3]
    assert [e.label for e in listing.splits.train] == [1, 2, 2, 0, 0, 1, 1, 2, 2, 0]
    for part in listing.splits:
        for example in part:
            image = listing.images.open(example.item)
            assert (image.mode, image.size) == ("RGB", (32, 32))
            assert set(image.getdata()) == {(example.label, 100 + example.label, 200 + example.label)}
    assert listing.images.name(listing.splits.test[1].item) == "test_batch.bin:1"
    assert read_cifar(place, CIFAR10).splits == listing.splits, "the archive's own folder may be given"


def test_pixels_have_the_right_order(tmp_path: Path) -> None:
    place = ten(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    (place / "test_batch.bin").write_bytes(bytes([1]) + pixels.tobytes())
    listing = read_cifar(tmp_path, CIFAR10)
    opened = np.asarray(listing.images.open(listing.splits.test[0].item))
    assert np.array_equal(opened, pixels.transpose(1, 2, 0))


def test_cifar100_has_two_labels_of_which_the_fine_one_is_used(tmp_path: Path) -> None:
    (tmp_path / "train.bin").write_bytes(records([1, 0], coarse=True))
    (tmp_path / "test.bin").write_bytes(records([1], coarse=True))
    (tmp_path / "fine_label_names.txt").write_text("apple\naquarium_fish\n")
    listing = read_cifar(tmp_path, CIFAR100)
    assert listing.classes == ("apple", "aquarium_fish")
    assert [e.label for e in listing.splits.train] == [1, 0]
    assert listing.images.open(0).getpixel((5, 5)) == (1, 101, 201)


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    place = ten(tmp_path)
    batch = place / "data_batch_3.bin"
    for data, error in (
        (records([1])[:-1], r"data_batch_3.bin is damaged or of another kind: it has 3072 bytes, no whole number of"),
        (b"", r"data_batch_3.bin is damaged or of another kind: it has 0 bytes"),
        (records([0, 3]), r"data_batch_3.bin, record 1: label 3; there are 3 classes.$"),
    ):  # fmt: skip
        batch.write_bytes(data)
        with pytest.raises(DataError, match=error):
            read_cifar(tmp_path, CIFAR10)
    batch.unlink()
    with pytest.raises(DataError, match=r"missing file .*data_batch_3.bin \(its folder holds "):
        read_cifar(tmp_path, CIFAR10)
    with pytest.raises(DataError, match=r"missing folder .*nowhere"):
        read_cifar(tmp_path / "nowhere", CIFAR10)
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "data_batch_1").write_bytes(b"a pickle")
    with pytest.raises(DataError, match=r"missing file .*batches.meta.txt \(its folder holds data_batch_1\)"):
        read_cifar(tmp_path / "python", CIFAR10)
