"""Decoded images kept in memory up to a limit, so that a second epoch or evaluation decodes nothing.

All batches of a process share them. When they are full, images that only earlier batches asked for give way to new
ones; those that the present batches asked for stay, so that going through more images than fit still finds some.
"""

import functools
import os
from collections import OrderedDict
from itertools import count
from weakref import WeakKeyDictionary

from PIL.Image import Image
from torch import Tensor

from vlprompt.data.images import Images, Item
from vlprompt.errors import UsageError

LIMIT_GB = 2.0
OVERHEAD = 600  # bytes that an entry takes beside its pixels
Kept = Image | Tensor
Key = tuple[str, str]  # content, transform; no transform: as decoded


class Pixels:
    """Decoded images, and images that a transform without randomness made of them (uint8, before normalisation).

    Args:
        limit: Bytes kept at most; 0 keeps nothing.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._kept: OrderedDict[Key, tuple[Kept, int, int]] = OrderedDict()  # value, bytes, turn of the last use
        self._turns = count(1)
        self._owners: WeakKeyDictionary[Images, int] = WeakKeyDictionary()
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._kept)

    def turn(self) -> int:
        """A number for whoever begins to ask: what it keeps can push out only what was last used before."""
        return next(self._turns)

    def name(self, images: Images, item: Item) -> str:
        """What an item's content is known by: its stamp, or the data set in memory and the item's number in it.

        Raises:
            BadImageError: There is no such file.
        """
        if stamp := images.stamp(item):
            return stamp
        owner = self._owners.get(images)
        if owner is None:
            owner = self._owners[images] = next(self._numbers)
        return f"{owner}:{images.name(item)}"

    def get(self, key: Key, turn: int) -> Kept | None:
        """What is kept under a key."""
        if key not in self._kept:
            return None
        value, size, _ = self._kept[key]
        self._kept[key] = value, size, turn
        self._kept.move_to_end(key)
        return value

    def put(self, key: Key, value: Kept, turn: int) -> None:
        """Keep a value, if there is room for it or can be made."""
        size = _bytes(value) + OVERHEAD
        if key in self._kept or size > self.limit:
            return
        while self.size + size > self.limit:
            oldest = next(iter(self._kept))
            if self._kept[oldest][2] >= turn:
                return
            self.size -= self._kept.pop(oldest)[1]
        self._kept[key] = value, size, turn
        self.size += size

    def __reduce__(self) -> tuple[type["Pixels"], tuple[int]]:
        """Another process starts with none: what is kept here need not travel."""
        return Pixels, (self.limit,)


@functools.cache
def shared() -> Pixels:
    """Those of this process: 2 GiB, or $VLPROMPT_PIXELS_GB.

    Raises:
        UsageError: The variable is no size.
    """
    given = os.environ.get("VLPROMPT_PIXELS_GB", LIMIT_GB)
    try:
        limit = int(float(given) * 2**30)
    except (ValueError, OverflowError):
        limit = -1
    if limit < 0:
        raise UsageError(f"VLPROMPT_PIXELS_GB is {given!r}; give gigabytes for decoded images, 0 to keep none.")
    return Pixels(limit)


def _bytes(value: Kept) -> int:
    """Bytes of an image; Pillow spends four on each of its pixels."""
    return value.nbytes if isinstance(value, Tensor) else 4 * value.width * value.height
