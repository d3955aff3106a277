"""Views of one test image: the plain one, then random crops of it, as TPT makes them.

Shu et al., NeurIPS 2022 (arXiv:2209.07511): 63 random resized crops and flips beside the clean image, with AugMix on
fine-grained data sets (azshue/TPT, data/datautils.py). The crops are bilinear whatever the encoder's own preprocessing
is; that is torchvision's default, and what the published numbers were made with.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import RandomState
from PIL.Image import Image
from torch import Tensor

from vlprompt.data.augmix import augmix
from vlprompt.data.transforms import Preprocess, normalised, random_crop, seeded, test_transform
from vlprompt.errors import UsageError

ENCODED_AT_ONCE = 64  # views; of 224 px they are 38 MB
MEMORY_SHARE = 0.25  # of the machine, that the pixels of one image's views may take


@dataclass(frozen=True)
class Views:
    """Which views of a test image a learner looks at.

    Attributes:
        count: V, the plain view and V - 1 random ones.
        augmix: Put the random ones through AugMix (fine-grained data sets in TPT).
        seed: Of the run; an image's views depend on it and on the image's content, and on nothing else.

    Raises:
        UsageError: There is no view.
    """

    count: int = 64
    augmix: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError(f"views is {self.count}; give 1 for the plain image alone, or more (TPT: 64).")

    def transform(self, preprocess: Preprocess) -> "ViewTransform":
        """What makes them for an encoder.

        Raises:
            UsageError: The views of one image do not fit in memory.
        """
        # The pixels of all views, once as the crops and once as the encoder reads them.
        needed, memory = 2 * self.count * 3 * preprocess.size**2 * 4, _machine_memory()
        if needed > MEMORY_SHARE * memory:
            raise UsageError(
                f"{self.count} views of {preprocess.size} pixels take {needed / 2**30:.1f} GB for each image, this "
                f"machine has {memory / 2**30:.1f} GB; ask for {int(self.count * MEMORY_SHARE * memory / needed)} "
                "views at most (TPT: 64)."
            )
        return ViewTransform(preprocess, self.count, self.augmix)


@dataclass(frozen=True)
class ViewTransform:
    """An RGB image to (V, 3, H, W): the test view, then random crops that are drawn one after another.

    So the first views of an image are the same however many there are.
    """

    preprocess: Preprocess
    count: int
    augmix: bool

    @property
    def random(self) -> bool:
        """Whether the seed matters."""
        return self.count > 1

    @property
    def key(self) -> str:
        """Text that is equal for two transforms only if they do the same."""
        return f"views {self.count}{' augmix' if self.augmix and self.random else ''} {self.preprocess}"

    def pixels(self, image: Image, generator_seed: int = 0) -> Tensor:
        """(V, 3, H, W), 0 to 255: uint8, or float32 where views were mixed."""
        p = self.preprocess
        plain = test_transform(p).pixels(image)[None]  # (1, 3, H, W)
        if not self.random:
            return plain
        with seeded(generator_seed):
            crops = [random_crop(image, p.size, "bilinear") for _ in range(self.count - 1)]
        mixing = RandomState(generator_seed % 2**32)
        pixels = np.stack([augmix(crop, mixing) if self.augmix else np.asarray(crop) for crop in crops])
        return torch.cat([plain, torch.from_numpy(pixels).permute(0, 3, 1, 2)])  # the second (V - 1, 3, H, W)

    def __call__(self, image: Image, generator_seed: int = 0) -> Tensor:
        """(V, 3, H, W) float32, normalised."""
        return normalised(self.pixels(image, generator_seed), self.preprocess)


def encode_views(encode: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """(B, V, 3, H, W) -> (B, V, E), a bounded number of views at once."""
    parts = torch.split(images.flatten(0, 1), ENCODED_AT_ONCE)  # of (B * V, 3, H, W)
    return torch.cat([encode(part) for part in parts]).reshape(*images.shape[:2], -1)


def _machine_memory() -> float:
    """Bytes of memory; without bound where the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")
