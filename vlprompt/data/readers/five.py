"""5-datasets: CIFAR-10, MNIST, SVHN, notMNIST and Fashion-MNIST, ten classes each, one after the other.

Each is a domain, in the order of L2P's own code (its PyTorch port begins with SVHN), and its classes come after those
of the one before: in five tasks of ten classes as listed, each is a task. There is no validation split.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from vlprompt.data.images import Example, Item
from vlprompt.data.readers.cifar import CIFAR10, read_records
from vlprompt.data.readers.digits import NAMES as DIGITS
from vlprompt.data.readers.idx import read_idx_pair
from vlprompt.data.readers.listing import (
    Listing,
    Splits,
    images_in,
    need_file,
    need_folder,
    subfolders,
    what_is_there,
)
from vlprompt.data.readers.mat import read_mat
from vlprompt.data.stored import Part, Stored
from vlprompt.errors import VlpromptError

LETTERS = tuple("ABCDEFGHIJ")
CLASSES = {
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "mnist": tuple(f"handwritten {name}" for name in DIGITS),
    "svhn": tuple(f"house number {name}" for name in DIGITS),
    "notmnist": tuple(f"letter {name}" for name in LETTERS),
    "fashion_mnist": (
        "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"
    ),
}  # fmt: skip
PACKED = {"train": "train", "test": "t10k"}  # how IDX files call the splits
Found = tuple[list[Part], list[Item], list[int]]  # files of arrays, then items with their labels; numbers from 0


def read_five_datasets(root: Path, *, hint: str = "") -> Listing:
    """Read the five from folders of their own.

    `cifar-10-batches-bin` (the binary version), `mnist` and `fashion-mnist` (IDX files, packed or not), `svhn`
    (`train_32x32.mat`, `test_32x32.mat`), `notmnist` (`train` and `test`, a folder of images for each letter; or IDX
    files).

    Raises:
        VlpromptError: What is missing or damaged.
    """
    need_folder(root, hint)
    parts: list[Part] = []
    splits: dict[str, list[Example]] = {"train": [], "test": []}
    for domain, name in enumerate(CLASSES):
        for split, examples in splits.items():
            start = sum(len(part.pixels) for part in parts)
            more, items, labels = READERS[name](root, split, hint)
            parts += more
            for item, label in zip(items, labels, strict=True):
                if not 0 <= label < 10:
                    raise VlpromptError(f"{split} of {name} in {root} has label {label}; its labels go from 0 to 9")
                examples.append(Example(item if isinstance(item, Path) else start + int(str(item)), label, domain))
    classes = tuple(name for names in CLASSES.values() for name in names)
    found = Splits(*(tuple(_counted(splits.get(part, []))) for part in Splits._fields))
    return Listing(classes, Stored(parts, root), found, domains=tuple(CLASSES))


def _counted(examples: list[Example]) -> list[Example]:
    """The same, each domain's labels after those of the ones before."""
    return [Example(each.item, 10 * each.domain + each.label, each.domain) for each in examples]


def _cifar10(root: Path, split: str, hint: str) -> Found:
    place = need_folder(root / CIFAR10.folder, hint)
    files = CIFAR10.train if split == "train" else (CIFAR10.test,)
    found = [read_records(need_file(place / name, hint), CIFAR10.labels, 10, hint) for name in files]
    labels = [label for _, own in found for label in own]
    return [part for part, _ in found], list(range(len(labels))), labels


def _idx(folder: str) -> Callable[[Path, str, str], Found]:
    def read(root: Path, split: str, hint: str) -> Found:
        part, labels = read_idx_pair(need_folder(root / folder, hint), PACKED[split], hint)
        return [part], list(range(len(labels))), labels

    return read


def _svhn(root: Path, split: str, hint: str) -> Found:
    """Pixels are (32, 32, 3, N), and the digit zero has label 10."""
    file = need_file(need_folder(root / "svhn", hint) / f"{split}_32x32.mat", hint)
    found = read_mat(file, ("X", "y"), hint)
    pixels, labels = found["X"], found["y"].ravel()
    if pixels.dtype != np.uint8 or pixels.shape != (32, 32, 3, len(labels)):
        state = f"it holds {pixels.shape} {pixels.dtype} pixels and {len(labels)} labels"
        raise VlpromptError(f"{file} is not SVHN's cropped digits: {state}; get it again. {hint}".strip())
    whole = np.ascontiguousarray(pixels.transpose(3, 0, 1, 2))  # (N, 32, 32, 3)
    return [Part(file, whole)], list(range(len(labels))), [int(label) % 10 for label in labels]


def _notmnist(root: Path, split: str, hint: str) -> Found:
    place = need_folder(root / "notmnist", hint)
    own = {name.lower(): name for name in subfolders(place)}
    if not own:
        return _idx("notmnist")(root, split, hint)
    folder = need_folder(place / own.get(split, split), hint)
    items: list[Item] = []
    labels: list[int] = []
    for label, letter in enumerate(LETTERS):
        paths = list(images_in(need_folder(folder / letter, hint)))
        if not paths:
            raise VlpromptError(f"{folder / letter} has no images; it holds {what_is_there(folder / letter)}")
        items += paths
        labels += [label] * len(paths)
    return [], items, labels


READERS: dict[str, Callable[[Path, str, str], Found]] = {
    "cifar10": _cifar10,
    "mnist": _idx("mnist"),
    "svhn": _svhn,
    "notmnist": _notmnist,
    "fashion_mnist": _idx("fashion-mnist"),
}
