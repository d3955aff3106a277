"""scikit-learn's 1,797 handwritten digits: 8x8 grey pixels, installed with scikit-learn."""

import json
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
from PIL import Image

from vlprompt.data.images import Example, Indexed
from vlprompt.data.readers.listing import Listing, Splits
from vlprompt.data.splits import SPLITS
from vlprompt.errors import VlpromptError

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def read_digits(split: Path | Traversable) -> Listing:
    """Read the digits; items are positions in `sklearn.datasets.load_digits`.

    Args:
        split: JSON with lists of positions under train, val and test, created once for this project.

    Raises:
        VlpromptError: scikit-learn holds other digits than those of the split.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    parts = json.loads(split.read_text(encoding="utf-8"))
    if sorted(item for items in parts.values() for item in items) != list(range(len(digits.target))):
        raise VlpromptError(f"scikit-learn has {len(digits.target)} digits, the split in datasets/ is for others")
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8), stored as 0..16
    splits = Splits(*(tuple(Example(i, int(digits.target[i])) for i in parts[part]) for part in SPLITS))
    return Listing(NAMES, Indexed([(Image.fromarray(pixels),) for pixels in grey]), splits)
