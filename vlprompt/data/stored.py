"""Images in files that hold many of them, as arrays; none of these files is a pickle."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vlprompt.data.images import Files, Item


@dataclass(frozen=True)
class Part:
    """The images of one file.

    Attributes:
        file: Where they come from.
        pixels: (N, H, W) grey or (N, H, W, 3), uint8; may still lie on the disk (a memory map).
    """

    file: Path
    pixels: np.ndarray[Any, np.dtype[np.uint8]]


class Stored:
    """Images by number, counted through all parts in order; an item that is a path is opened as a file.

    Args:
        parts: Where the numbered images are.
        root: Folder that names are relative to.
    """

    def __init__(self, parts: Sequence[Part], root: Path) -> None:
        self.parts = tuple(parts)
        self._root = root
        self._files = Files(root)

    def __len__(self) -> int:
        return sum(len(part.pixels) for part in self.parts)

    def open(self, item: Item) -> Image.Image:
        """One image in RGB."""
        if isinstance(item, Path):
            return self._files.open(item)
        part, place = self._find(item)
        return Image.fromarray(np.ascontiguousarray(part.pixels[place])).convert("RGB")

    def digest(self, item: Item) -> str:
        """Sha256 of a file, or of size and pixels."""
        if isinstance(item, Path):
            return self._files.digest(item)
        image = self.open(item)
        return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()

    def name(self, item: Item) -> str:
        """The file's name, and the number of the image in it."""
        if isinstance(item, Path):
            return self._files.name(item)
        part, place = self._find(item)
        return f"{self._files.name(part.file)}:{place}"

    def stamp(self, item: Item) -> str:
        """The file's stamp, and the number of the image in it."""
        if isinstance(item, Path):
            return self._files.stamp(item)
        part, place = self._find(item)
        return f"{self._files.stamp(part.file)}|{place}"

    def _find(self, item: Item) -> tuple[Part, int]:
        """The part that an item is in, and its number there."""
        place = int(str(item))
        for part in self.parts:
            if place < len(part.pixels):
                return part, place
            place -= len(part.pixels)
        raise IndexError(f"there are {len(self)} images, number {item} was asked for")
