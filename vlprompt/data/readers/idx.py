"""IDX files, the format of MNIST: a header of big-endian numbers, then bytes; compressed by gzip or not."""

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from vlprompt.data.image_arrays import ImageArray
from vlprompt.data.readers.listing import DataError, need_file

BYTES = 8  # the header's code for unsigned bytes
Array = np.ndarray[Any, np.dtype[np.uint8]]


def read_idx_pair(folder: Path, part: str) -> tuple[ImageArray, list[int]]:
    """The images and labels of "train" or "t10k", as `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, or .gz.

    Raises:
        DataError: A file is missing or damaged, or there are not as many labels as images.
    """
    images, labels = (_plain_or_packed(folder / f"{part}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    pixels, own = read_idx(images, 3), read_idx(labels, 1)
    if len(pixels) != len(own):
        raise DataError(f"{labels} has {len(own)} labels, {images} has {len(pixels)} images.")
    return ImageArray(images, pixels), own.tolist()


def read_idx(file: Path, dimensions: int) -> Array:
    """The array of bytes in a file; DataError where it is damaged or has another format."""
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be unpacked: {error}; get it again.") from error
    head = 4 + 4 * dimensions
    if data[:4] != bytes([0, 0, BYTES, dimensions]) or len(data) < head:
        raise DataError(f"{file} is no IDX file of bytes in {dimensions} dimensions; get it again.")
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", dimensions, offset=4))
    if len(data) - head != math.prod(shape):
        state = f"its header gives {'x'.join(map(str, shape))}, {len(data) - head} bytes follow"
        raise DataError(f"{file} is damaged: {state}; get it again.")
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)


def _plain_or_packed(file: Path) -> Path:
    packed = file.with_name(f"{file.name}.gz")
    return packed if packed.is_file() and not file.is_file() else need_file(file)
