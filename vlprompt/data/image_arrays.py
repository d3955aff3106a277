"""Images in files that hold many of them as arrays; none of these files is a pickle."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlprompt.data.images import Indexed, Item


@dataclass(frozen=True)
class ImageArray:
    """The images of one file.

    Attributes:
        file: The file.
        pixels: (N, H, W) grey or (N, H, W, 3), uint8; a memory map leaves them on the disk.
    """

    file: Path
    pixels: np.ndarray[Any, np.dtype[np.uint8]]


class ImageArrays(Indexed):
    """Images by number, counted through several files in order; an item that is a path is opened as an image file."""

    def __init__(self, arrays: Sequence[ImageArray], root: Path) -> None:
        """Hold the arrays; names are relative to the folder `root`."""
        super().__init__(*(array.pixels for array in arrays), root=root)
        self.arrays = tuple(arrays)

    def name(self, item: Item) -> str:
        """The file's name, and the number of the image in it."""
        return self._in_file(item, self.files.name, ":")

    def stamp(self, item: Item) -> str:
        """The file's stamp, and the number of the image in it."""
        return self._in_file(item, self.files.stamp, "|")

    def _in_file(self, item: Item, describe: Callable[[Item], str], separator: str) -> str:
        if isinstance(item, Path):
            return describe(item)
        part, place = self.find(item)
        return f"{describe(self.arrays[part].file)}{separator}{place}"
