"""The five data sets in their published formats, a few images of each."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from vlprompt.data import transforms
from vlprompt.data.batches import image_batches
from vlprompt.data.readers.five import read_five_datasets
from vlprompt.data.readers.listing import DataError

LABELS = {"train": [3, 0, 9, 1], "test": [9, 2]}
PACKED = {"train": "train", "test": "t10k"}


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def grey(root: Path, folder: str, base: int, packed: bool) -> None:
    """IDX files whose pixels are `base` plus the label."""
    (root / folder).mkdir(parents=True)
    for split, labels in LABELS.items():
        own = np.array(labels, np.uint8)
        images = np.broadcast_to(base + own[:, None, None], (len(own), 28, 28)).astype(np.uint8)
        for what, array in (("images-idx3", images), ("labels-idx1", own)):
            name, data = f"{PACKED[split]}-{what}-ubyte", idx(array)
            (root / folder / (name + ".gz" * packed)).write_bytes(gzip.compress(data) if packed else data)


def five(root: Path) -> Path:
    """All five; the red of an image is 40 times its data set's position plus its label."""
    cifar = root / "cifar-10-batches-bin"
    cifar.mkdir(parents=True)
    rows = {split: b"".join(bytes([n]) + bytes([n] * 3072) for n in labels) for split, labels in LABELS.items()}
    for number in range(1, 6):
        (cifar / f"data_batch_{number}.bin").write_bytes(rows["train"])
    (cifar / "test_batch.bin").write_bytes(rows["test"])
    grey(root, "mnist", 40, True)
    (root / "svhn").mkdir()
    for split, labels in LABELS.items():
        own = np.array(labels, np.uint8)
        pixels = np.broadcast_to(80 + own, (32, 32, 3, len(own)))
        savemat(root / "svhn" / f"{split}_32x32.mat", {"X": pixels, "y": np.where(own == 0, 10, own)[:, None]})
        for number, letter in enumerate("ABCDEFGHIJ"):
            file = root / "notmnist" / split.title() / letter / "x.png"
            file.parent.mkdir(parents=True)
            Image.new("L", (28, 28), 120 + number).save(file)
    grey(root, "fashion-mnist", 160, False)
    return root


def test_five_domains_of_ten_classes(tmp_path: Path) -> None:
    listing = read_five_datasets(five(tmp_path))
    assert listing.domains == ("cifar10", "mnist", "svhn", "notmnist", "fashion_mnist")
    assert (len(listing.classes), len(set(listing.classes))) == (50, 50)
    assert listing.classes[3::10] == ("cat", "handwritten three", "house number three", "letter D", "dress")
    counts = [[sum(e.domain == d for e in part) for d in range(5)] for part in listing.splits]
    assert counts == [[20, 4, 4, 10, 4], [0] * 5, [2, 2, 2, 10, 2]]
    for part in listing.splits:
        assert all(example.label // 10 == example.domain for example in part)
        for example in part:
            image = listing.images.open(example.item)
            assert image.mode == "RGB"
            assert image.getpixel((3, 3)) == (40 * example.domain + example.label % 10,) * 3


def test_names_stamps_and_digests_are_different(tmp_path: Path) -> None:
    listing = read_five_datasets(five(tmp_path))
    items = [example.item for part in listing.splits for example in part]
    assert len({listing.images.name(item) for item in items}) == len(items)
    assert len({listing.images.stamp(item) for item in items}) == len(items)
    assert listing.images.name(items[20]) == "mnist/train-images-idx3-ubyte.gz:0"
    assert listing.images.digest(items[0]) == listing.images.digest(items[4]), "the same pixels in another batch"
    assert listing.images.digest(items[0]) != listing.images.digest(items[1])


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_of_their_images(tmp_path: Path, workers: int) -> None:
    listing = read_five_datasets(five(tmp_path))
    transform = transforms.test_transform(transforms.Preprocess(16, (0.0,) * 3, (1.0,) * 3))
    batches = image_batches(listing.images, listing.splits.test, transform, batch_size=100, workers=workers)
    for _ in range(2):
        (batch,) = batches.epoch(0)
        assert batch.images is not None
        wanted = [40 * (label // 10) + label % 10 for label in batch.labels.tolist()]
        assert (batch.images[:, 0, 0, 0] * 255).round().tolist() == wanted
    batches.close()


def test_notmnist_may_be_idx_files(tmp_path: Path) -> None:
    folders = read_five_datasets(five(tmp_path / "folders"))
    five(tmp_path / "packed")
    (tmp_path / "packed" / "notmnist").rename(tmp_path / "gone")
    grey(tmp_path / "packed", "notmnist", 120, True)
    packed = read_five_datasets(tmp_path / "packed")
    assert packed.domains == folders.domains
    own = [e for e in packed.splits.test if e.domain == 3]
    assert [packed.images.open(e.item).getpixel((0, 0))[0] for e in own] == [129, 122]  # type: ignore[index]
    assert [e.label for e in own] == [39, 32]


@pytest.mark.parametrize(
    ("gone", "error"),
    [
        ("cifar-10-batches-bin/data_batch_4.bin", r"missing file .*data_batch_4.bin .*$"),
        ("mnist/t10k-labels-idx1-ubyte.gz", r"missing file .*mnist/t10k-labels-idx1-ubyte \(.*$"),
        (
            "svhn/test_32x32.mat",
            r"missing file .*svhn/test_32x32.mat \(its folder holds train_32x32.mat\).$",
        ),
        ("notmnist/Test/C/x.png", r"notmnist/Test/C has no images; it holds nothing.$"),
    ],
)
def test_errors_name_what_is_missing(tmp_path: Path, gone: str, error: str) -> None:
    (five(tmp_path) / gone).unlink()
    with pytest.raises(DataError, match=error):
        read_five_datasets(tmp_path)


def test_errors_name_what_is_damaged(tmp_path: Path) -> None:
    file = five(tmp_path) / "svhn" / "train_32x32.mat"
    savemat(file, {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.ones((3, 1))})
    error = r"train_32x32.mat is not SVHN's cropped digits: it holds \(32, 32, 3, 2\) uint8 pixels and 3 labels"
    with pytest.raises(DataError, match=error):
        read_five_datasets(tmp_path)
    savemat(file, {"X": np.zeros((32, 32, 3, 3), np.uint8), "y": np.full((3, 1), 4)})
    batch = tmp_path / "cifar-10-batches-bin" / "test_batch.bin"
    batch.write_bytes(bytes([200]) + bytes(3072))
    with pytest.raises(DataError, match=r"test_batch.bin, record 0: label 200; there are 10 classes"):
        read_five_datasets(tmp_path)
    batch.write_bytes(bytes(3073))
    (tmp_path / "mnist" / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.full(4, 11, np.uint8))))
    with pytest.raises(DataError, match=r"train of mnist in .* has label 11; its labels go from 0 to 9$"):
        read_five_datasets(tmp_path)
