"""IDX files, as MNIST comes in: a header of big-endian numbers, then bytes; packed by gzip or not."""

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from vlprompt.data.readers.listing import need_file
from vlprompt.data.stored import Part
from vlprompt.errors import VlpromptError

BYTES = 8  # the header's code for unsigned bytes
Array = np.ndarray[Any, np.dtype[np.uint8]]


def read_idx_pair(folder: Path, part: str, hint: str = "") -> tuple[Part, list[int]]:
    """The images and labels of "train" or "t10k", as `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, or .gz.

    Raises:
        VlpromptError: A file is missing or damaged, or there are not as many labels as images.
    """
    images, labels = (_either(folder / f"{part}-{what}-ubyte", hint) for what in ("images-idx3", "labels-idx1"))
    pixels, own = read_idx(images, 3, hint), read_idx(labels, 1, hint)
    if len(pixels) != len(own):
        raise VlpromptError(f"{labels} has {len(own)} labels, {images} has {len(pixels)} images. {hint}".strip())
    return Part(images, pixels), own.tolist()


def read_idx(file: Path, dimensions: int, hint: str = "") -> Array:
    """The array of bytes in a file.

    Raises:
        VlpromptError: It is damaged, or no such array.
    """
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise VlpromptError(f"{file} cannot be unpacked: {error}; get it again. {hint}".strip()) from error
    head = 4 + 4 * dimensions
    if data[:4] != bytes([0, 0, BYTES, dimensions]) or len(data) < head:
        raise VlpromptError(f"{file} is no IDX file of bytes in {dimensions} dimensions; get it again. {hint}".strip())
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", dimensions, offset=4))
    if len(data) - head != math.prod(shape):
        found = f"its header says {'x'.join(map(str, shape))}, {len(data) - head} bytes follow"
        raise VlpromptError(f"{file} is damaged: {found}; get it again. {hint}".strip())
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)


def _either(file: Path, hint: str) -> Path:
    """The file, or its packed form."""
    packed = file.with_name(f"{file.name}.gz")
    return packed if packed.is_file() and not file.is_file() else need_file(file, hint)
