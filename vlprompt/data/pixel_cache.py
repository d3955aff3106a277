"""Decoded images in memory, up to a limit, so that a second epoch or evaluation decodes nothing.

All batches of a process share one cache. When it is full, new images replace those that only earlier readers used;
images that the present reader used stay, so that a pass over more images than fit still finds some of them.
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
OVERHEAD = 600  # bytes of an entry besides its pixels
Value = Image | Tensor
Key = tuple[str, str]  # content; transform, "" for an image as decoded


class PixelCache:
    """Decoded images, and the uint8 outputs of transforms without randomness.

    Attributes:
        limit: Bytes at most; 0 stores nothing.
        size: Bytes in use.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._entries: OrderedDict[Key, tuple[Value, int, int]] = OrderedDict()  # value, bytes, last reader
        self._readers = count(1)
        self._datasets: WeakKeyDictionary[Images, int] = WeakKeyDictionary()
        self._dataset_numbers = count()

    def __len__(self) -> int:
        return len(self._entries)

    def new_reader(self) -> int:
        """A number for a new reader; what it stores replaces only entries that earlier readers used last."""
        return next(self._readers)

    def content(self, images: Images, item: Item) -> str:
        """What identifies an item's pixels: its stamp and how it is read; in memory, the data set and the number.

        Raises:
            BadImageError: There is no such file.
        """
        if stamp := images.stamp(item):
            return f"{stamp}|{images.reading}"
        number = self._datasets.get(images)
        if number is None:
            number = self._datasets[images] = next(self._dataset_numbers)
        return f"{number}:{images.name(item)}"

    def get(self, key: Key, reader: int) -> Value | None:
        """The value stored under a key, if there is one."""
        if key not in self._entries:
            return None
        value, size, _ = self._entries[key]
        self._entries[key] = value, size, reader
        self._entries.move_to_end(key)
        return value

    def put(self, key: Key, value: Value, reader: int) -> None:
        """Store a value, if there is room for it or older entries can be dropped."""
        size = _bytes(value) + OVERHEAD
        if key in self._entries or size > self.limit:
            return
        while self.size + size > self.limit:
            oldest = next(iter(self._entries))
            if self._entries[oldest][2] >= reader:
                return
            self.size -= self._entries.pop(oldest)[1]
        self._entries[key] = value, size, reader
        self.size += size

    def __reduce__(self) -> tuple[type["PixelCache"], tuple[int]]:
        """Another process starts with an empty cache; the entries are not copied."""
        return PixelCache, (self.limit,)


@functools.cache
def shared_cache() -> PixelCache:
    """The cache of this process: 2 GiB, or $VLPROMPT_PIXELS_GB.

    Raises:
        UsageError: The variable is not a size.
    """
    given = os.environ.get("VLPROMPT_PIXELS_GB", LIMIT_GB)
    try:
        limit = int(float(given) * 2**30)
    except (ValueError, OverflowError):
        limit = -1
    if limit < 0:
        raise UsageError(f"VLPROMPT_PIXELS_GB is {given!r}; give gigabytes for decoded images, 0 to store none.")
    return PixelCache(limit)


def _bytes(value: Value) -> int:
    """Bytes of an image; Pillow uses four for each pixel."""
    return value.nbytes if isinstance(value, Tensor) else 4 * value.width * value.height
