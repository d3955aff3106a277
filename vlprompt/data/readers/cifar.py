"""CIFAR-10 and CIFAR-100 in their binary version: records of labels and 32x32 pixels.

The Python version, which torchvision reads, consists of pickles, which can run any code; it is not supported.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlprompt.data.classes import check_classes
from vlprompt.data.image_arrays import ImageArray, ImageArrays
from vlprompt.data.images import Example
from vlprompt.data.readers.listing import DataError, Listing, Splits, need_file, need_folder
from vlprompt.data.readers.text_files import lines

SIDE = 32
PIXELS = 3 * SIDE * SIDE


@dataclass(frozen=True)
class Cifar:
    """The files of one of the two; the last of a record's `labels` bytes is its class."""

    folder: str
    train: tuple[str, ...]
    test: str
    names: str
    labels: int


CIFAR10 = Cifar(
    "cifar-10-batches-bin", tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin", "batches.meta.txt", 1
)
CIFAR100 = Cifar("cifar-100-binary", ("train.bin",), "test.bin", "fine_label_names.txt", 2)


def read_cifar(folder: Path, kind: Cifar) -> Listing:
    """Read a binary CIFAR; there is no validation split.

    Args:
        folder: Holds the files, or the archive's folder with the files.
        kind: CIFAR10 or CIFAR100.
    """
    place = folder / kind.folder if (folder / kind.folder).is_dir() else need_folder(folder)
    file = need_file(place / kind.names)
    classes = check_classes([name for line in lines(file) if (name := line.strip())], str(file))
    arrays: list[ImageArray] = []
    examples: list[list[Example]] = []
    for names in (kind.train, (kind.test,)):
        start = sum(len(array.pixels) for array in arrays)
        read = [read_records(place / name, kind.labels, len(classes)) for name in names]
        arrays += [array for array, _ in read]
        labels = [label for _, own in read for label in own]
        examples.append([Example(start + i, label) for i, label in enumerate(labels)])
    return Listing(classes, ImageArrays(arrays, place), Splits(tuple(examples[0]), test=tuple(examples[1])))


def read_records(file: Path, labels: int, classes: int) -> tuple[ImageArray, list[int]]:
    """The images of one file, which stay on the disk, and their labels.

    Args:
        file: The file.
        labels: Bytes of labels in a record.
        classes: Number of classes.

    Raises:
        DataError: The file is missing, its length is no whole number of records, or a label is not below `classes`.
    """
    size, record = need_file(file).stat().st_size, labels + PIXELS
    if not size or size % record:
        state = f"it has {size} bytes, no whole number of records of {record}"
        raise DataError(f"{file} is damaged or of another kind: {state}; get it again.")
    table = np.memmap(file, np.uint8, "r", shape=(size // record, record))
    own: list[int] = table[:, labels - 1].tolist()
    if max(own) >= classes:
        raise DataError(f"{file}, record {own.index(max(own))}: label {max(own)}; there are {classes} classes.")
    images = table[:, labels:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)  # (N, 32, 32, 3), a view of the file
    return ImageArray(file, images), own
