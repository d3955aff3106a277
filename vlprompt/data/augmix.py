"""AugMix: an image mixed with three random chains of simple operations on it. Hendrycks et al., ICLR 2020.

The settings are those of TPT for fine-grained data sets: severity 1, three chains of one to three of nine operations
(azshue/TPT, data/datautils.py and data/augmix_ops.py). All random numbers come from the generator passed in, in the
order of that code, so the same state gives the same image.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import RandomState
from PIL import Image, ImageOps
from PIL.Image import Resampling, Transform

SEVERITY = 1.0  # TPT, data/datautils.py::augmix
CHAINS = 3  # Hendrycks et al., section 3
DEPTHS = (1, 4)  # operations in a chain: 1 to 3
Operation = Callable[[Image.Image, RandomState], Image.Image]


def augmix(image: Image.Image, random: RandomState) -> np.ndarray:
    """Mix a square RGB image with the outputs of three random chains.

    m x + (1 - m) sum_i w_i chain_i(x), with w ~ Dirichlet(1, 1, 1) and m ~ Beta(1, 1). The published code mixes after
    normalisation; since that is affine and the weights sum to one, mixing pixels gives the same up to rounding.

    Returns:
        (H, W, 3) float32 pixels between 0 and 255, not rounded.
    """
    weights = random.dirichlet([1.0] * CHAINS).astype(np.float32)
    share = np.float32(random.beta(1.0, 1.0))
    mixed = np.zeros((image.height, image.width, 3), np.float32)
    for weight in weights:
        chained = image
        for _ in range(random.randint(*DEPTHS)):
            chained = OPERATIONS[random.choice(len(OPERATIONS))](chained, random)
        mixed += weight * np.asarray(chained, np.float32)
    return share * np.asarray(image, np.float32) + (1 - share) * mixed


def _level(random: RandomState, maximum: float) -> float:
    """The strength of an operation: u / 10 of its maximum, u uniform in [0.1, severity]."""
    return float(random.uniform(0.1, SEVERITY)) * maximum / 10


def _signed(level: float, random: RandomState) -> float:
    return -level if random.uniform() > 0.5 else level


def _rotate(image: Image.Image, random: RandomState) -> Image.Image:
    return image.rotate(_signed(int(_level(random, 30)), random), resample=Resampling.BILINEAR)


def _affine(place: int, relative: bool) -> Operation:
    """A shear by up to 0.3, or a translation by up to a third of the (square) image, as one entry of its matrix."""

    def operation(image: Image.Image, random: RandomState) -> Image.Image:
        level = _level(random, 0.3) if relative else int(_level(random, image.width / 3))
        matrix: list[float] = [1, 0, 0, 0, 1, 0]
        matrix[place] = _signed(level, random)
        return image.transform(image.size, Transform.AFFINE, matrix, resample=Resampling.BILINEAR)

    return operation


# In the order of the published list, because the random choice is a position.
OPERATIONS: tuple[Operation, ...] = (
    lambda image, _: ImageOps.autocontrast(image),
    lambda image, _: ImageOps.equalize(image),
    lambda image, random: ImageOps.posterize(image, 4 - int(_level(random, 4))),
    _rotate,
    lambda image, random: ImageOps.solarize(image, 256 - int(_level(random, 256))),
    _affine(1, relative=True),  # shear in x
    _affine(3, relative=True),  # shear in y
    _affine(2, relative=False),  # translation in x
    _affine(5, relative=False),  # translation in y
)
