"""5-datasets: CIFAR-10, MNIST, SVHN, notMNIST and Fashion-MNIST, ten classes each, learned one after another.

Each is a domain, in the order of L2P's own code (its PyTorch port begins with SVHN), and its classes follow those of
the one before: with five tasks of ten classes as listed, each is a task. There is no validation split.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from vlprompt.data.image_arrays import ImageArray, ImageArrays
from vlprompt.data.images import Example, Item
from vlprompt.data.readers.cifar import CIFAR10, read_records
from vlprompt.data.readers.digits import NAMES as DIGITS
from vlprompt.data.readers.idx import read_idx_pair
from vlprompt.data.readers.listing import DataError, Listing, Splits, need_folder, need_images, subfolders
from vlprompt.data.readers.mat import read_mat

LETTERS = "ABCDEFGHIJ"
CLASSES = {
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "mnist": tuple(f"handwritten {name}" for name in DIGITS),
    "svhn": tuple(f"house number {name}" for name in DIGITS),
    "notmnist": tuple(f"letter {name}" for name in LETTERS),
    "fashion_mnist": (
        "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"
    ),
}  # fmt: skip
Part = tuple[list[ImageArray], list[Item], list[int]]  # arrays; items, numbers from 0 or paths; labels


def read_five_datasets(root: Path) -> Listing:
    """Read the five from folders of their own.

    `cifar-10-batches-bin` (the binary version), `mnist` and `fashion-mnist` (IDX files, compressed or not), `svhn`
    (`train_32x32.mat`, `test_32x32.mat`), `notmnist` (`train` and `test`, a folder of images for each letter; or IDX
    files).
    """
    need_folder(root)
    arrays: list[ImageArray] = []
    examples: dict[str, list[Example]] = {"train": [], "test": []}
    for domain, name in enumerate(CLASSES):
        for split, own in examples.items():
            start = sum(len(array.pixels) for array in arrays)
            more, items, labels = READERS[name](root, split)
            arrays += more
            for item, label in zip(items, labels, strict=True):
                if not 0 <= label < 10:
                    raise DataError(f"{split} of {name} in {root} has label {label}; its labels go from 0 to 9")
                number = item if isinstance(item, Path) else start + int(str(item))
                own.append(Example(number, 10 * domain + label, domain))
    classes = tuple(name for names in CLASSES.values() for name in names)
    splits = Splits(tuple(examples["train"]), test=tuple(examples["test"]))
    return Listing(classes, ImageArrays(arrays, root), splits, domains=tuple(CLASSES))


def _cifar10(root: Path, split: str) -> Part:
    place = need_folder(root / CIFAR10.folder)
    files = CIFAR10.train if split == "train" else (CIFAR10.test,)
    read = [read_records(place / name, CIFAR10.labels, 10) for name in files]
    labels = [label for _, own in read for label in own]
    return [array for array, _ in read], list(range(len(labels))), labels


def _idx(folder: str) -> Callable[[Path, str], Part]:
    def read(root: Path, split: str) -> Part:
        array, labels = read_idx_pair(need_folder(root / folder), "t10k" if split == "test" else split)
        return [array], list(range(len(labels))), labels

    return read


def _svhn(root: Path, split: str) -> Part:
    """Pixels are stored as (32, 32, 3, N), and the digit zero has label 10."""
    file = need_folder(root / "svhn") / f"{split}_32x32.mat"
    arrays = read_mat(file, ("X", "y"))
    pixels, labels = arrays["X"], arrays["y"].ravel()
    if pixels.dtype != np.uint8 or labels.dtype.kind not in "uif" or pixels.shape != (32, 32, 3, len(labels)):
        state = f"it holds {pixels.shape} {pixels.dtype} pixels and {len(labels)} labels"
        raise DataError(f"{file} is not SVHN's cropped digits: {state}; get it again.")
    array = ImageArray(file, np.ascontiguousarray(pixels.transpose(3, 0, 1, 2)))  # (N, 32, 32, 3)
    return [array], list(range(len(labels))), [int(label) % 10 for label in labels]


def _notmnist(root: Path, split: str) -> Part:
    place = need_folder(root / "notmnist")
    folders = {name.lower(): name for name in subfolders(place)}
    if not folders:
        return _idx("notmnist")(root, split)
    items: list[Item] = []
    labels: list[int] = []
    for label, letter in enumerate(LETTERS):
        paths = need_images(need_folder(place / folders.get(split, split)) / letter)
        items += paths
        labels += [label] * len(paths)
    return [], items, labels


READERS: dict[str, Callable[[Path, str], Part]] = {
    "cifar10": _cifar10,
    "mnist": _idx("mnist"),
    "svhn": _svhn,
    "notmnist": _notmnist,
    "fashion_mnist": _idx("fashion-mnist"),
}
