"""Where pixels come from: files, or data sets that hold images under a number.

An image is decoded as the reference loaders do it, `Image.open(path).convert("RGB")`: the orientation that a camera
wrote into EXIF is not applied (Dassl.pytorch, `dassl/utils/tools.py::read_image`).
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError

from vlprompt.data.texts import Text
from vlprompt.errors import VlpromptError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
Item = Path | int | Text


class BadImageError(VlpromptError):
    """An image that is missing or cannot be decoded."""


@dataclass(frozen=True, slots=True)
class Example:
    """One image or text, and its class.

    Attributes:
        item: A path, a position in an indexed data set, or a text.
        label: Class number, -1 where unknown.
        domain: Domain number, for tasks of several domains.
    """

    item: Item
    label: int
    domain: int = 0


class Images(Protocol):
    """Opens the items of a task."""

    def open(self, item: Item) -> Image.Image:
        """Decode one item to RGB; raises BadImageError."""

    def digest(self, item: Item) -> str:
        """Sha256 of the content; raises BadImageError."""

    def name(self, item: Item) -> str:
        """The item's name, the same wherever the data lies."""

    def stamp(self, item: Item) -> str:
        """Cheap text that changes when the content does, or "" where there is none; raises BadImageError."""


@dataclass(frozen=True)
class Files:
    """Image files; items are paths.

    Attributes:
        root: Folder that names are relative to; without it a name is the whole path.
    """

    root: Path | None = None

    def open(self, item: Item) -> Image.Image:
        """Decode one file to RGB."""
        try:
            with Image.open(item) as image:  # type: ignore[arg-type]
                return image.convert("RGB")
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
            raise _bad(item, error) from error

    def digest(self, item: Item) -> str:
        """Sha256 of the file's bytes."""
        try:
            with Path(str(item)).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _bad(item, error) from error

    def name(self, item: Item) -> str:
        """The path from the root on, with forward slashes."""
        # Strings, not paths: this runs once for every image of ImageNet.
        prefix = "" if self.root is None else f"{self.root}{os.sep}"
        return str(item).removeprefix(prefix).replace(os.sep, "/")

    def stamp(self, item: Item) -> str:
        """Path, size and time of the last change."""
        path = Path(str(item)).absolute()
        try:
            stat = path.stat()
        except (OSError, ValueError) as error:
            raise _bad(item, error) from error
        return f"{path}|{stat.st_size}|{stat.st_mtime_ns}"


class Indexed:
    """Images of torchvision data sets, Hugging Face data sets or lists; items count through all of them in order.

    An element is (image, ...) or {"image": image, ...}; an image is a PIL image or a uint8 array (H, W) or (H, W, 3).
    """

    def __init__(self, *parts: Sequence[Any] | Any, field: str = "image") -> None:
        self.parts = parts
        self.field = field

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def open(self, item: Item) -> Image.Image:
        """Decode one element to RGB."""
        position, part = int(str(item)), 0
        while position >= len(self.parts[part]):
            position, part = position - len(self.parts[part]), part + 1
        try:
            element = self.parts[part][position]
        except (OSError, SyntaxError, ValueError) as error:
            raise _bad(item, error) from error
        image = element[self.field] if isinstance(element, dict) else element[0]
        if isinstance(image, np.ndarray) and image.dtype == np.uint8:
            image = Image.fromarray(image)
        if not isinstance(image, Image.Image):
            kind = type(image).__name__
            raise BadImageError(f"image number {item} is a {kind}; give a data set of PIL images, without a transform")
        return image.convert("RGB")

    def digest(self, item: Item) -> str:
        """Sha256 of size and pixels."""
        image = self.open(item)
        return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()

    def name(self, item: Item) -> str:
        """The item's number."""
        return str(item)

    def stamp(self, item: Item) -> str:  # noqa: ARG002
        """Nothing: what is in memory has no cheap sign of change."""
        return ""


def is_image_name(name: str) -> bool:
    """Whether a file of this name counts as an image: a known suffix in any case, and not hidden."""
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES


def _bad(item: Item, error: Exception) -> BadImageError:
    """The one line that names the image and what is wrong with it."""
    if isinstance(error, FileNotFoundError):
        reason = "there is no such file; check the data folder against the split file"
    elif isinstance(error, UnidentifiedImageError):
        reason = "not an image, or a format that Pillow does not know"
    else:
        reason = f"{error}".split("\n")[0] or type(error).__name__
    what = f"image number {item}" if isinstance(item, int) else f"image {item}"
    return BadImageError(f"cannot read {what}: {reason} (on_bad_image='skip' leaves such images out)")
