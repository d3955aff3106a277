"""From a PIL image to the normalised tensor an encoder reads, with the crops of the CoOp family.

Test: resize the short side, crop the centre. Training: a random crop of 8 to 100 % of the area, flipped half the time
(Dassl.pytorch, `dassl/data/transforms/transforms.py`). PIL does the resizing, so that the pixels are the published
ones. Whatever is random is drawn from the seed passed in: the result knows neither the order nor the worker.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torchvision.transforms as tv
import torchvision.transforms.functional as tvf
from PIL.Image import Image
from torch import Tensor

from vlprompt.errors import UsageError, unknown

INTERPOLATIONS = ("bicubic", "bilinear", "nearest")
RESIZES = ("shortest", "squash")


@dataclass(frozen=True)
class Preprocess:
    """The pixels an encoder was trained on: its square crop and its normalisation.

    Attributes:
        size: Side of the square crop in pixels.
        mean: Mean of each channel, images in [0, 1].
        std: Standard deviation of each channel.
        interpolation: "bicubic", "bilinear" or "nearest".
        resize: At test time "shortest" resizes the short side and crops the centre (CLIP); "squash" resizes both
            sides and crops nothing (SigLIP).
        crop_pct: At test time, the share of the resized image's side that the crop keeps (timm's models; CLIP: all).
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    resize: str = "shortest"
    crop_pct: float = field(default=1.0, repr=False)  # in a transform's key only where it matters

    def __post_init__(self) -> None:
        for name in ("mean", "std"):  # lists come back from JSON
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        if self.size < 1 or len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise UsageError(f"preprocessing needs size >= 1, three means and three positive stds, got {self}")
        if self.interpolation not in INTERPOLATIONS:
            raise unknown("interpolation", self.interpolation, INTERPOLATIONS)
        if self.resize not in RESIZES:
            raise unknown("resize", self.resize, RESIZES)
        if not 0 < self.crop_pct <= 1:
            raise UsageError(f"crop_pct {self.crop_pct} must be a share of the image, above 0 and at most 1.")


class Transform(Protocol):
    """Turns an RGB image into a tensor; what is random comes from the seed alone."""

    @property
    def key(self) -> str:
        """Text that is equal for two transforms only if they do the same."""

    @property
    def random(self) -> bool:
        """Whether the seed matters."""

    @property
    def preprocess(self) -> Preprocess:
        """Has the mean and deviation that pixels are normalised by."""

    def pixels(self, image: Image, generator_seed: int = 0) -> Tensor:
        """An RGB image to (3, H, W), or to (V, 3, H, W) for V views of it: 0 to 255, uint8 unless views were mixed."""

    def __call__(self, image: Image, generator_seed: int = 0) -> Tensor:
        """The same, normalised: float32."""


@dataclass(frozen=True)
class _CenterCrop:
    """Resize, centre crop, normalise."""

    preprocess: Preprocess
    random: bool = field(default=False, init=False)

    @property
    def key(self) -> str:
        share = self.preprocess.crop_pct
        return f"center-crop {self.preprocess}" + f" of {share:g}" * (share < 1)

    def pixels(self, image: Image, generator_seed: int = 0) -> Tensor:  # noqa: ARG002
        """(3, H, W) uint8."""
        p = self.preprocess
        whole = math.floor(p.size / p.crop_pct)
        size = [whole] if p.resize == "shortest" else [whole, whole]
        image = tvf.resize(image, size, tv.InterpolationMode(p.interpolation))
        return tensor_of(tvf.center_crop(image, [p.size, p.size]))

    def __call__(self, image: Image, generator_seed: int = 0) -> Tensor:
        return normalised(self.pixels(image, generator_seed), self.preprocess)


@dataclass(frozen=True)
class _RandomCrop:
    """Random resized crop, random flip, normalise."""

    preprocess: Preprocess
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    random: bool = field(default=True, init=False)

    @property
    def key(self) -> str:
        return f"random-crop {self.scale} {self.ratio} flip {self.flip} {self.preprocess}"

    def pixels(self, image: Image, generator_seed: int = 0) -> Tensor:
        """(3, H, W) uint8."""
        p = self.preprocess
        with seeded(generator_seed):
            image = random_crop(image, p.size, p.interpolation, scale=self.scale, ratio=self.ratio, flip=self.flip)
        return tensor_of(image)

    def __call__(self, image: Image, generator_seed: int = 0) -> Tensor:
        return normalised(self.pixels(image, generator_seed), self.preprocess)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Give torchvision, which draws from the global generator, one of this seed; the caller's is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def random_crop(
    image: Image,
    size: int,
    interpolation: str,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: float = 0.5,
) -> Image:
    """A random part of an image, resized to a square and perhaps flipped; draws as torchvision's own transforms do."""
    box = tv.RandomResizedCrop.get_params(image, list(scale), list(ratio))
    flipped = bool(torch.rand(1) < flip)
    cropped: Image = tvf.resized_crop(image, *box, [size, size], tv.InterpolationMode(interpolation))
    return tvf.hflip(cropped) if flipped else cropped


def test_transform(preprocess: Preprocess) -> Transform:
    """The transform of evaluation: resize the short side, crop the centre, normalise."""
    return _CenterCrop(preprocess)


def train_transform(preprocess: Preprocess, smallest: float = 0.08) -> Transform:
    """The augmentation of the CoOp family: random resized crop (8-100 % of the area), flip, normalise."""
    return _RandomCrop(preprocess, (smallest, 1.0))


def tensor_of(image: Image) -> Tensor:
    """An RGB image as a (3, H, W) uint8 tensor."""
    pixels: Tensor = tvf.pil_to_tensor(image).contiguous()  # batches are stacked from it again and again
    return pixels


def normalised(pixels: Tensor, preprocess: Preprocess) -> Tensor:
    """(..., 3, H, W), 0 to 255, to float32, as torchvision's `to_tensor` and `normalize` do it to one image."""
    scaled = pixels.to(torch.float32, copy=True).div_(255)  # the input stays as it is; half the time of `pixels / 255`
    done: Tensor = tvf.normalize(scaled, preprocess.mean, preprocess.std, inplace=True)
    return done
