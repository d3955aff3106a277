"""Loose items for `classify`: single images and texts, or several of them, as users hold them.

An image is a path, a PIL image, an encoded image (bytes or an open binary file), or an array of shape (H, W), (H, W, C)
or (C, H, W). An array of three dimensions that has no channels, or one of four, is a batch of images. Tensors are
refused: most are already resized and normalised. A text is a string or a mapping of fields to strings. Anything else
that can be iterated over is a list of items: a generator, an array of strings, a column of a table.
"""

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
    if isinstance(items, np.ndarray) and not of_texts:
        return [items] if is_image_shape(items.shape) else list(np.atleast_1d(items))
    if not isinstance(items, Iterable) or isinstance(items, bytes | bytearray | Mapping | torch.Tensor):
        raise UsageError(f"{_kind(items)} cannot be classified; give {TEXTS if of_texts else IMAGES}.")
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
        if str(item).lower().startswith(("http://", "https://")):
            raise UsageError(f"item {position} is a web address, {item}; download the image first and give its path.")
        return Path(item)
    if hasattr(item, "read") and not isinstance(item, Image):
        item = item.read()
    if isinstance(item, bytes | bytearray | memoryview):
        return bytes(item)
    if isinstance(item, Image):
        return item
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


def _kind(value: object) -> str:
    """A value's type, and the value itself where it is short."""
    if value is None:
        return "None"
    if isinstance(value, torch.Tensor):
        return "a tensor, which may already be resized and normalised"
    shown = f" ({value!r})" if isinstance(value, int | float) else ""
    return f"of type {type(value).__name__}{shown}"
