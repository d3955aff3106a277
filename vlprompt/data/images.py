"""Where images come from: files, or data sets that hold images under a number.

Users' own images are read as a viewer shows them: turned as EXIF states, transparent parts on white. Data sets of the
catalogue are read as the reference loaders do it, `Image.open(path).convert("RGB")`, which does neither (Dassl.pytorch,
`dassl/utils/tools.py::read_image`); see `as_stored`.
"""

import copy
import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from vlprompt.data import pixels
from vlprompt.data.texts import Text
from vlprompt.errors import UsageError, VlpromptError, unknown, warn

USUAL = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
IMAGE_SUFFIXES = frozenset(
    USUAL | {".jpe", ".jfif", ".mpo", ".apng", ".ico", ".dib", ".pbm", ".pnm", ".jp2", ".avif", ".heic", ".heif"}
)
ON_BAD_IMAGE = ("error", "skip")
Item = Path | int | Text


class BadImageError(VlpromptError):
    """An image that is missing or cannot be decoded."""


@dataclass(frozen=True, slots=True)
class Example:
    """One image or text, and its class.

    Attributes:
        item: A path, a number in an indexed data set, or a text.
        label: Class number, -1 where unknown.
        domain: Domain number, for tasks of several domains.
    """

    item: Item
    label: int
    domain: int = 0


class Images(Protocol):
    """Opens the items of a task."""

    @property
    def reading(self) -> str:
        """Text that differs for two sources that turn the same content into different pixels; part of stored keys."""

    def open(self, item: Item) -> Image.Image:
        """Decode one item to RGB; raises BadImageError."""

    def digest(self, item: Item) -> str:
        """Sha256 of the content; raises BadImageError."""

    def name(self, item: Item) -> str:
        """The item's name, which does not depend on the folder that the data set is stored in."""

    def stamp(self, item: Item) -> str:
        """Short text that changes when the content does, cheap to get; "" where there is none; raises BadImageError."""


@dataclass(frozen=True)
class Files:
    """Image files; items are paths.

    Attributes:
        root: Folder that names are relative to; without it a name is the whole path.
        shown: Read images as a viewer shows them, turned as EXIF states and with transparent parts on white; False: as
            they are stored, which is how the reference code reads published data sets.
    """

    root: Path | None = None
    shown: bool = True

    @property
    def reading(self) -> str:
        """How pixels are read; empty for images as they are stored."""
        return "shown" if self.shown else ""

    def open(self, item: Item) -> Image.Image:
        """Decode one file to RGB."""
        path = Path(str(item))
        try:
            _need_regular(path.stat())
            return pixels.decode(path, shown=self.shown)
        except Exception as error:  # decoders of damaged files raise errors of any kind
            raise _bad_image(item, error) from error

    def digest(self, item: Item) -> str:
        """Sha256 of the file's bytes."""
        path = Path(str(item))
        try:
            _need_regular(path.stat())
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, ValueError) as error:
            raise _bad_image(item, error) from error

    def name(self, item: Item) -> str:
        """The path relative to the root, with forward slashes."""
        # Strings, not paths: this runs once for every image of ImageNet.
        prefix = "" if self.root is None else f"{self.root}{os.sep}"
        return str(item).removeprefix(prefix).replace(os.sep, "/")

    def stamp(self, item: Item) -> str:
        """Path, size, times of change and place on the disk.

        Copying tools can set the time of change of the content; nothing sets that of the entry (ctime), and a file that
        replaces another one has another inode. Where a system has neither, size and time of change remain.
        """
        path = Path(str(item)).absolute()
        try:
            _need_regular(found := path.stat())
        except (OSError, ValueError) as error:
            raise _bad_image(item, error) from error
        return f"{path}|{found.st_size}|{found.st_mtime_ns}|{found.st_ctime_ns}|{found.st_dev}:{found.st_ino}"


class Indexed:
    """Images by number, of torchvision data sets, Hugging Face data sets, lists or arrays; a path is opened as a file.

    Numbers count through all parts in order. An element is an image, (image, ...) or {"image": image, ...}; an image is
    a PIL image, an encoded image as bytes, or an array or a tensor of integers that `pixels.from_array` reads.
    """

    def __init__(
        self, *parts: Sequence[Any] | Any, field: str = "image", root: Path | None = None, shown: bool = True
    ) -> None:
        """Hold the data sets; `field` is the key of the image in a dictionary, `root` and `shown` as for `Files`."""
        self.parts = parts
        self.field = field
        self.files = Files(root, shown)

    @property
    def reading(self) -> str:
        """How pixels are read, as of files."""
        return self.files.reading

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def open(self, item: Item) -> Image.Image:
        """Decode one element to RGB."""
        if isinstance(item, Path):
            return self.files.open(item)
        part, place = self.find(item)
        try:
            return self._rgb(self.parts[part][place])
        except UsageError as error:
            raise BadImageError(f"image number {item} {error}") from error
        except Exception as error:  # data sets and decoders raise errors of any kind
            raise _bad_image(item, error) from error

    def _rgb(self, element: Any) -> Image.Image:
        """The image of one element; UsageError where it holds none."""
        if isinstance(element, dict):
            element = element[self.field]
        elif isinstance(element, tuple | list):
            element = element[0]
        if isinstance(element, bytes):
            return pixels.decode(element, shown=self.files.shown)
        if isinstance(element, Tensor) and not element.is_floating_point():
            element = element.cpu().numpy()
        if isinstance(element, np.ndarray):
            element = pixels.from_array(element)
        if not isinstance(element, Image.Image):
            kind = type(element).__name__
            raise UsageError(f"is a {kind}; give a data set of PIL images, without a transform")
        return pixels.to_rgb(element, shown=self.files.shown)

    def digest(self, item: Item) -> str:
        """Sha256 of a file, or of size and pixels."""
        if isinstance(item, Path):
            return self.files.digest(item)
        image = self.open(item)
        return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()

    def name(self, item: Item) -> str:
        """The item's number, or a file's name."""
        return self.files.name(item)

    def stamp(self, item: Item) -> str:
        """A file's stamp; empty for an image in memory, whose changes cannot be noticed cheaply."""
        return self.files.stamp(item) if isinstance(item, Path) else ""

    def find(self, item: Item) -> tuple[int, int]:
        """The part that a number falls into, and the position in that part; IndexError where there is none."""
        place = int(str(item))
        for part, elements in enumerate(self.parts):
            if place < len(elements):
                return part, place
            place -= len(elements)
        raise IndexError(f"there are {len(self)} images, number {item} was requested")


def as_stored(images: Images) -> Images:
    """The same images, read as the reference code reads published data sets; other kinds of sources are unchanged."""
    if isinstance(images, Files):
        return replace(images, shown=False)
    if isinstance(images, Indexed):
        images = copy.copy(images)
        images.files = replace(images.files, shown=False)
    return images


class BadImages:
    """The unreadable images of a split: the first one is an error, or all of them are counted and skipped.

    Args:
        on_bad_image: "error" or "skip"; UsageError for anything else.
        total: Images in the split.
    """

    def __init__(self, on_bad_image: str, total: int) -> None:
        if on_bad_image not in ON_BAD_IMAGE:
            raise unknown("way to treat bad images", on_bad_image, ON_BAD_IMAGE)
        self.reasons: dict[int, str] = {}  # by position
        self._skip = on_bad_image == "skip"
        self._total = total
        self._reported = 0

    def add(self, reasons: Mapping[int, str]) -> None:
        """Record bad images; BadImageError for the first of them unless they are skipped."""
        if reasons and not self._skip:
            raise BadImageError(next(iter(reasons.values())))
        self.reasons.update(reasons)

    def report(self, consequence: str) -> None:
        """Give one warning for all bad images, if there are more of them than at the last report."""
        if len(self.reasons) > self._reported:
            self._reported = len(self.reasons)
            first = next(iter(self.reasons.values()))
            warn(f"{self._reported} of {self._total} images {consequence}; the first: {first}")


def is_image_name(name: str) -> bool:
    """Whether a file of this name counts as an image: a known suffix in any case, and not hidden."""
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES


def _bad_image(item: Item, error: Exception) -> BadImageError:
    """One line that names the image, what is wrong with it, and what to do."""
    if isinstance(error, FileNotFoundError):
        reason = "there is no such file; check the data folder against the split file"
    elif isinstance(error, UnidentifiedImageError):
        reason = "not an image, or of a format that is not read; replace the file or remove it from the data"
    else:
        reason = f"{error}".split("\n")[0] or type(error).__name__
    what = f"image number {item}" if isinstance(item, int) else f"image {item}"
    return BadImageError(f"cannot read {what}: {reason}")


def _need_regular(found: os.stat_result) -> None:
    """Raise ValueError for what is no file: opening a FIFO or reading a device would never end."""
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a FIFO, a device or a socket"
        raise ValueError(f"it is {kind}, not an image file")
