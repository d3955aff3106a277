"""Loose items for `classify`: single images and texts, or several of them, as users hold them.

An image is a path, a PIL image, an encoded image (bytes or an open binary file), or an array of shape (H, W), (H, W, C)
or (C, H, W). An array of three dimensions that has no channels, or one of four, is a batch of images. Integer tensors
are read as arrays; those of floats are refused, since most are already resized and normalised. A text is a string or a
mapping of fields to strings. Anything else that can be iterated over is a list of items: a generator, an array of
strings, a column of a table.
"""

import re
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image

from vlprompt.data.pixels import from_array, is_image_shape
from vlprompt.data.texts import Text
from vlprompt.errors import UsageError

IMAGES = "a path, a PIL image, an array or the bytes of an image, or a list of these"
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)  # one letter would be a drive of Windows
TEXTS = "a string, a mapping of fields to strings, or a list of these"


def as_list(items: object, *, of_texts: bool) -> list[Any]:
    """One item or several as a list.

    Args:
        items: What the user gave.
        of_texts: Whether the learner reads texts.

    Raises:
        UsageError: It is neither an item nor several.
    """
    alone = str | Mapping if of_texts else str | PathLike | Image | bytes | bytearray
    if isinstance(items, alone) or (not of_texts and hasattr(items, "read")):
        return [items]
    if isinstance(items, torch.Tensor):
        items = _array(items)
    if isinstance(items, np.ndarray) and not of_texts:
        single = items.dtype.kind in "buif" and is_image_shape(items.shape)
        return [items] if single else list(np.atleast_1d(items if items.dtype.kind in "buif" else items.ravel()))
    if hasattr(items, "columns"):
        raise UsageError("a table cannot be classified; give the column that holds the items, as table['path'].")
    if not isinstance(items, Iterable) or isinstance(items, bytes | bytearray | Mapping | torch.Tensor):
        allowed = TEXTS if of_texts else IMAGES
        raise UsageError(f"the argument is {_kind(items)}, which cannot be classified; give {allowed}.")
    return list(items)


def image_item(position: int, item: object) -> Any:
    """A path, a PIL image, an array or the bytes of an encoded image.

    Args:
        position: Of the item in its list, for the messages.
        item: Any image.

    Raises:
        UsageError: It is a web address or not an image.
    """
    if isinstance(item, str | PathLike):
        if ADDRESS.match(str(item)):
            raise UsageError(f"item {position} is a web address, {item}; download the image first and give its path.")
        return _home(Path(item))
    if hasattr(item, "read") and not isinstance(item, Image):
        item = _contents(position, item)
    if isinstance(item, bytes | bytearray | memoryview):
        return bytes(item)
    if isinstance(item, Image):
        return item
    item = _array(item)
    if not isinstance(item, np.ndarray):
        raise UsageError(f"item {position} is {_kind(item)}; give {IMAGES}.")
    try:
        from_array(item)
    except ValueError as error:
        raise UsageError(f"item {position} is an array that is not an image: {error}.") from error
    return item


def text_item(position: int, item: object, field: str) -> Text:
    """A text.

    Args:
        position: Of the item in its list, for the messages.
        item: A string, or a mapping of fields to strings.
        field: The field's name for a string.

    Raises:
        UsageError: It is neither.
    """
    if isinstance(item, Mapping):
        for name, value in item.items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise UsageError(f"item {position} has {_kind(value)} in the field {name!r}; a field is a string.")
    elif not isinstance(item, str):
        raise UsageError(f"item {position} is {_kind(item)}; give {TEXTS}.")
    return Text.from_item(item, field)


def _contents(position: int, file: Any) -> bytes:
    """The bytes of an open file; UsageError where it cannot be read, or gives text."""
    try:
        contents = file.read()
    except (OSError, ValueError) as error:
        raise UsageError(f"item {position} is a file that cannot be read: {error}.") from error
    if not isinstance(contents, bytes):
        raise UsageError(f"item {position} is a file that is open as text; open it with mode 'rb', or give its path.")
    return contents


def _array(item: object) -> object:
    """A tensor of integers as an array; other values as they are."""
    pixels = isinstance(item, torch.Tensor) and not item.is_floating_point() and not item.is_complex()
    return item.cpu().numpy() if pixels and isinstance(item, torch.Tensor) else item


def _home(path: Path) -> Path:
    """A path whose ~ is the user's folder, unless a file of that name exists or there is no such user."""
    try:
        return path if path.exists() else path.expanduser()
    except (OSError, ValueError, RuntimeError):  # reported where the file is opened
        return path


def _kind(value: object) -> str:
    """A value's type, and the value itself where it is short."""
    if value is None:
        return "None"
    if isinstance(value, torch.Tensor):
        return "a tensor of floats, which may already be resized and normalised (for pixels in 0..1: tensor.numpy())"
    shown = f" ({value!r})" if isinstance(value, int | float) else ""
    return f"of type {type(value).__name__}{shown}"
