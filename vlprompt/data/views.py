"""Views of one test image: the plain view, then random crops, as in TPT.

Shu et al., NeurIPS 2022 (arXiv:2209.07511): 63 random resized crops and flips beside the clean image, with AugMix on
fine-grained data sets (azshue/TPT, data/datautils.py). The crops are bilinear for every encoder, which is torchvision's
default and the setting of the published numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import psutil
import torch
from numpy.random import RandomState
from PIL.Image import Image
from torch import Tensor

from vlprompt.config import Count, Settings
from vlprompt.data.augmix import augmix
from vlprompt.data.transforms import Preprocess, Transform, random_crop, test_transform
from vlprompt.errors import UsageError
from vlprompt.randomness import seeded

ENCODED_AT_ONCE = 64  # views; of 224 px they are 38 MB
MEMORY_SHARE = 0.25  # of the machine's memory, at most, for the pixels of one image's views


@dataclass(frozen=True)
class Views(Settings):
    """The views of a test image that a learner reads.

    Attributes:
        count: V, the plain view and V - 1 random ones.
        augmix: Put the random ones through AugMix (fine-grained data sets in TPT).
        seed: Seed of the run; an image's views depend on it and on the image's content only.
    """

    count: Count = 64
    augmix: bool = False
    seed: int = 0

    def transform(self, preprocess: Preprocess) -> "ViewTransform":
        """The transform that makes these views for an encoder.

        Raises:
            UsageError: The views of one image would take more than a quarter of the machine's memory.
        """
        # Pixels of all views in float32, twice: as crops and as the encoder's input.
        needed, memory = 2 * self.count * 3 * preprocess.size**2 * 4, psutil.virtual_memory().total
        if needed > MEMORY_SHARE * memory:
            raise UsageError(
                f"{self.count} views of {preprocess.size} pixels take {needed / 2**30:.1f} GB for each image, this "
                f"machine has {memory / 2**30:.1f} GB; use {int(self.count * MEMORY_SHARE * memory / needed)} "
                "views at most (TPT: 64)."
            )
        return ViewTransform(preprocess, self.count, self.augmix)


@dataclass(frozen=True)
class ViewTransform(Transform):
    """An RGB image to (V, 3, H, W): the test view, then random crops.

    Crops are drawn one after another, so the first views of an image do not depend on the number of views.
    """

    preprocess: Preprocess
    count: int
    augmix: bool

    @property
    def random(self) -> bool:
        """Whether the output depends on the seed."""
        return self.count > 1

    @property
    def key(self) -> str:
        """Text that is equal for two transforms only if they do the same."""
        return f"views {self.count}{' augmix' if self.augmix and self.random else ''} {self.preprocess}"

    def pixels(self, image: Image, seed: int = 0) -> Tensor:
        """(V, 3, H, W), 0 to 255: uint8, or float32 where views were mixed."""
        p = self.preprocess
        plain = test_transform(p).pixels(image)[None]  # (1, 3, H, W)
        if not self.random:
            return plain
        with seeded(seed):
            crops = [random_crop(image, p.size, "bilinear") for _ in range(self.count - 1)]
        random = RandomState(seed % 2**32)
        pixels = np.stack([augmix(crop, random) if self.augmix else np.asarray(crop) for crop in crops])
        return torch.cat([plain, torch.from_numpy(pixels).permute(0, 3, 1, 2)])  # the second (V - 1, 3, H, W)


def encode_views(encode: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """(B, V, 3, H, W) -> (B, V, E), at most ENCODED_AT_ONCE views at a time."""
    parts = torch.split(images.flatten(0, 1), ENCODED_AT_ONCE)  # of (B * V, 3, H, W)
    return torch.cat([encode(part) for part in parts]).reshape(*images.shape[:2], -1)
