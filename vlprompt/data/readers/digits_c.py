"""The handwritten digits with a corrupted test split: noise, blur, low contrast or rotation, in five severities.

The training images are clean: the test images are a shift that a model was not trained for. An image's corruption has
its own random generator, the same at every severity, so that a higher severity is more of the same corruption.
"""

from collections.abc import Callable
from dataclasses import replace
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from vlprompt.data.images import Indexed
from vlprompt.data.readers.digits import read_digits
from vlprompt.data.readers.listing import Listing
from vlprompt.errors import UsageError, unknown

SEVERITIES = 5
DEFAULT = 3
MIXED = "mixed"


def read_corrupted_digits(split: Path | Traversable, which: str = "") -> Listing:
    """Read the digits with their test images corrupted.

    Args:
        split: As for `read_digits`.
        which: A corruption, with its severity if it is not 3: "noise", "blur-5"; "mixed" (or nothing) uses the four in
            turn.

    Raises:
        UsageError: The corruption or severity is unknown.
    """
    name, _, level = which.partition("-")
    name = name or MIXED
    if name not in (*CORRUPTIONS, MIXED):
        raise unknown("corruption of digits-c", name, (*CORRUPTIONS, MIXED))
    severity = int(level) if level.isdecimal() and len(level) < 9 else DEFAULT if not level else 0
    if not 1 <= severity <= SEVERITIES:
        raise UsageError(f"severity {level!r} of digits-c/{name} is not known; it goes from 1 to {SEVERITIES}.")
    listing = read_digits(split)
    turns = list(CORRUPTIONS) if name == MIXED else [name]
    test = {int(str(example.item)) for example in listing.splits.test}
    images = []
    for position in range(sum(map(len, listing.splits))):
        image = listing.images.open(position).convert("L")
        if position in test:
            image = corrupted(image, turns[position % len(turns)], severity, position)
        images.append((image,))
    return replace(listing, images=Indexed(images))


def corrupted(image: Image.Image, name: str, severity: int, seed: int) -> Image.Image:
    """Apply a corruption of CORRUPTIONS, severity 1 to 5, to a grey image."""
    rng = np.random.default_rng([seed, list(CORRUPTIONS).index(name)])
    corrupt, amounts = CORRUPTIONS[name]
    return corrupt(image, amounts[severity - 1], rng)


def _contrast(image: Image.Image, share: float) -> Image.Image:
    pixels = np.asarray(image, np.float64)
    return _grey(pixels.mean() + share * (pixels - pixels.mean()))


def _noise(image: Image.Image, deviation: float, rng: np.random.Generator) -> Image.Image:
    return _grey(np.asarray(image) + deviation * rng.standard_normal((image.height, image.width)))


def _rotation(image: Image.Image, degrees: float, rng: np.random.Generator) -> Image.Image:
    return image.rotate(degrees if rng.random() < 0.5 else -degrees, resample=Image.Resampling.BICUBIC)


def _grey(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8))


Corrupt = Callable[[Image.Image, float, np.random.Generator], Image.Image]
CORRUPTIONS: dict[str, tuple[Corrupt, tuple[float, ...]]] = {
    "noise": (_noise, (20, 40, 60, 80, 110)),  # standard deviation, of 255
    "blur": (lambda image, radius, _: image.filter(ImageFilter.GaussianBlur(radius)), (0.4, 0.6, 0.8, 1.0, 1.3)),
    "contrast": (lambda image, share, _: _contrast(image, share), (0.5, 0.35, 0.25, 0.15, 0.08)),
    "rotation": (_rotation, (10, 20, 30, 40, 55)),  # degrees, either way
}
