"""CIFAR-10 and CIFAR-100 in their binary version: records of labels and 32x32 pixels.

Not the Python version, which torchvision reads: that is pickles, and a pickle runs whatever code its maker wrote in it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlprompt.data.images import Example
from vlprompt.data.readers.listing import Listing, Splits, check_classes, need_file, need_folder
from vlprompt.data.stored import Part, Stored
from vlprompt.errors import VlpromptError

SIDE = 32
PIXELS = 3 * SIDE * SIDE


@dataclass(frozen=True)
class Layout:
    """How one of the two is stored; the last of a record's `labels` bytes is its class."""

    folder: str
    train: tuple[str, ...]
    test: str
    names: str
    labels: int


CIFAR10 = Layout(
    "cifar-10-batches-bin", tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin", "batches.meta.txt", 1
)
CIFAR100 = Layout("cifar-100-binary", ("train.bin",), "test.bin", "fine_label_names.txt", 2)


def read_cifar(folder: Path, layout: Layout, *, hint: str = "") -> Listing:
    """Read a binary CIFAR; there is no validation split.

    Args:
        folder: Holds the files, or the folder of the archive that holds them.
        layout: CIFAR10 or CIFAR100.
        hint: Where to get what is missing, for the error.

    Raises:
        VlpromptError: A file is missing or damaged, or has a label without a name.
    """
    place = folder / layout.folder if (folder / layout.folder).is_dir() else need_folder(folder, hint)
    names = need_file(place / layout.names, hint).read_text(encoding="utf-8").split()
    classes = check_classes(names, str(place / layout.names))
    parts: list[Part] = []
    splits = []
    for files in (layout.train, (layout.test,)):
        labels: list[int] = []
        start = sum(len(part.pixels) for part in parts)
        for name in files:
            part, own = read_records(need_file(place / name, hint), layout.labels, len(classes), hint)
            parts.append(part)
            labels += own
        splits.append(tuple(Example(start + i, label) for i, label in enumerate(labels)))
    return Listing(classes, Stored(parts, place), Splits(splits[0], test=splits[1]))


def read_records(file: Path, labels: int, classes: int, hint: str = "") -> tuple[Part, list[int]]:
    """The images of one file, which stay on the disk, and their labels.

    Raises:
        VlpromptError: Its length is no whole number of records, or a label is not below `classes`.
    """
    size, record = file.stat().st_size, labels + PIXELS
    if not size or size % record:
        state = f"it has {size} bytes, no whole number of records of {record}"
        raise VlpromptError(f"{file} is damaged or of another kind: {state}; get it again. {hint}".strip())
    table = np.memmap(file, np.uint8, "r", shape=(size // record, record))
    own: list[int] = table[:, labels - 1].tolist()
    if max(own) >= classes:
        where = own.index(max(own))
        raise VlpromptError(f"{file}, record {where}: label {max(own)}; there are {classes} classes. {hint}".strip())
    images = table[:, labels:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)  # (N, 32, 32, 3), a view of the file
    return Part(file, images), own
