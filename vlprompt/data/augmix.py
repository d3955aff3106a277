"""AugMix: a picture and three chains of simple operations on it, mixed at random. Hendrycks et al., ICLR 2020.

The settings are those TPT uses for fine-grained data sets: severity 1, three chains of one to three of nine operations
(azshue/TPT, data/datautils.py and data/augmix_ops.py). Everything random is drawn from the stream passed in, in the
order of that code, so the same stream gives the same picture.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import RandomState
from PIL import Image, ImageOps
from PIL.Image import Resampling, Transform

SEVERITY = 1.0  # TPT, data/datautils.py::augmix
CHAINS = 3  # Hendrycks et al., section 3
DEPTHS = (1, 4)  # operations in a chain: 1 to 3


def augmix(image: Image.Image, random: RandomState) -> np.ndarray:
    """Mix a square RGB image with what three random chains make of it.

    m x + (1 - m) sum_i w_i chain_i(x), with w ~ Dirichlet(1, 1, 1) and m ~ Beta(1, 1). The published code mixes after
    normalisation; that is affine and the weights sum to one, so mixing pixels gives the same but for rounding.

    Returns:
        (H, W, 3) float32, pixels between 0 and 255, not rounded.
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


def _level(random: RandomState, most: float) -> float:
    """How far an operation goes: uniform in [0.1, severity], of ten, times its most."""
    return float(random.uniform(0.1, SEVERITY)) * most / 10


def _signed(level: float, random: RandomState) -> float:
    return -level if random.uniform() > 0.5 else level


def _affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return image.transform(image.size, Transform.AFFINE, matrix, resample=Resampling.BILINEAR)


def _autocontrast(image: Image.Image, random: RandomState) -> Image.Image:  # noqa: ARG001
    return ImageOps.autocontrast(image)


def _equalize(image: Image.Image, random: RandomState) -> Image.Image:  # noqa: ARG001
    return ImageOps.equalize(image)


def _posterize(image: Image.Image, random: RandomState) -> Image.Image:
    return ImageOps.posterize(image, 4 - int(_level(random, 4)))


def _rotate(image: Image.Image, random: RandomState) -> Image.Image:
    return image.rotate(_signed(int(_level(random, 30)), random), resample=Resampling.BILINEAR)


def _solarize(image: Image.Image, random: RandomState) -> Image.Image:
    return ImageOps.solarize(image, 256 - int(_level(random, 256)))


def _shear_x(image: Image.Image, random: RandomState) -> Image.Image:
    return _affine(image, (1, _signed(_level(random, 0.3), random), 0, 0, 1, 0))


def _shear_y(image: Image.Image, random: RandomState) -> Image.Image:
    return _affine(image, (1, 0, 0, _signed(_level(random, 0.3), random), 1, 0))


def _translate_x(image: Image.Image, random: RandomState) -> Image.Image:
    return _affine(image, (1, 0, _signed(int(_level(random, image.width / 3)), random), 0, 1, 0))


def _translate_y(image: Image.Image, random: RandomState) -> Image.Image:
    return _affine(image, (1, 0, 0, 0, 1, _signed(int(_level(random, image.height / 3)), random)))


# In the order of the published list: the draw picks by position.
OPERATIONS: tuple[Callable[[Image.Image, RandomState], Image.Image], ...] = (
    _autocontrast,
    _equalize,
    _posterize,
    _rotate,
    _solarize,
    _shear_x,
    _shear_y,
    _translate_x,
    _translate_y,
)
