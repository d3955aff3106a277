"""From a PIL image to the normalised tensor an encoder reads, with the crops of the CoOp family.

Test: resize the short side, crop the centre. Training: a random crop of 8 to 100 % of the area, flipped half the time
(Dassl.pytorch, `dassl/data/transforms/transforms.py`). PIL does the resizing, so that the pixels are the published
ones. Random numbers depend on the seed passed in only, so the result does not depend on the order or the worker.
"""

import abc
import math
from dataclasses import dataclass, field

import torch
import torchvision.transforms as tv
import torchvision.transforms.functional as tvf
from PIL.Image import Image
from torch import Tensor

from vlprompt.errors import UsageError, unknown
from vlprompt.randomness import seeded

INTERPOLATIONS = ("bicubic", "bilinear", "nearest")
RESIZES = ("shortest", "squash")
MOST_PIXELS = 64 * 2**20  # of a resized image; one that would have more is cropped before it is resized
LONG = 32  # ratio of its sides then


@dataclass(frozen=True)
class Preprocess:
    """The pixels an encoder was trained on: its square crop and its normalisation.

    Attributes:
        size: Side of the square crop in pixels.
        mean: Mean of each channel, images in [0, 1].
        std: Standard deviation of each channel.
        interpolation: One of INTERPOLATIONS.
        resize: At test time "shortest" resizes the short side and crops the centre (CLIP); "squash" resizes both
            sides and crops nothing (SigLIP).
        crop_pct: At test time, side of the crop as a share of the resized image's side (timm's models; CLIP: 1).
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    resize: str = "shortest"
    crop_pct: float = field(default=1.0, repr=False)  # in a transform's key only where it matters

    def __post_init__(self) -> None:
        for name in ("mean", "std"):  # JSON gives lists
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        if self.size < 1 or len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise UsageError(f"preprocessing needs size >= 1, three means and three positive stds, got {self}")
        if self.interpolation not in INTERPOLATIONS:
            raise unknown("interpolation", self.interpolation, INTERPOLATIONS)
        if self.resize not in RESIZES:
            raise unknown("resize", self.resize, RESIZES)
        if not 0 < self.crop_pct <= 1:
            raise UsageError(f"crop_pct {self.crop_pct} must be a share of the image, above 0 and at most 1.")


class Transform(abc.ABC):
    """Turns an RGB image into a tensor; random numbers come from the seed passed in only."""

    preprocess: Preprocess

    @property
    @abc.abstractmethod
    def key(self) -> str:
        """Text that is equal for two transforms only if they do the same."""

    @property
    @abc.abstractmethod
    def random(self) -> bool:
        """Whether the output depends on the seed."""

    @abc.abstractmethod
    def pixels(self, image: Image, seed: int = 0) -> Tensor:
        """(3, H, W) pixels of an RGB image, or (V, 3, H, W) of V views: 0 to 255, uint8 unless views were mixed."""

    def __call__(self, image: Image, seed: int = 0) -> Tensor:
        """The same, normalised: float32."""
        return normalised(self.pixels(image, seed), self.preprocess)


@dataclass(frozen=True)
class _CenterCrop(Transform):
    """Resize, centre crop, normalise."""

    preprocess: Preprocess
    random = False

    @property
    def key(self) -> str:
        share = self.preprocess.crop_pct
        return f"center-crop {self.preprocess}" + f" of {share:g}" * (share < 1)

    def pixels(self, image: Image, seed: int = 0) -> Tensor:  # noqa: ARG002
        """(3, H, W) uint8."""
        p = self.preprocess
        whole = math.floor(p.size / p.crop_pct)
        size = [whole] if p.resize == "shortest" else [whole, whole]
        if p.resize == "shortest" and whole**2 * max(image.size) > MOST_PIXELS * min(image.size):
            # The rest is cropped away below; resized as a whole, a strip of 8 x 100,000 pixels would take gigabytes.
            image = tvf.center_crop(image, [min(side, LONG * min(image.size)) for side in (image.height, image.width)])
        image = tvf.resize(image, size, tv.InterpolationMode(p.interpolation))
        return _tensor(tvf.center_crop(image, [p.size, p.size]))


@dataclass(frozen=True)
class _RandomCrop(Transform):
    """Random resized crop, random flip, normalise."""

    preprocess: Preprocess
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    random = True

    @property
    def key(self) -> str:
        return f"random-crop {self.scale} {self.ratio} flip {self.flip} {self.preprocess}"

    def pixels(self, image: Image, seed: int = 0) -> Tensor:
        """(3, H, W) uint8."""
        p = self.preprocess
        with seeded(seed):
            image = random_crop(image, p.size, p.interpolation, scale=self.scale, ratio=self.ratio, flip=self.flip)
        return _tensor(image)


def random_crop(
    image: Image,
    size: int,
    interpolation: str,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: float = 0.5,
) -> Image:
    """A random part of an image, resized to a square and flipped with probability `flip`, by torchvision's draws."""
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


def normalised(pixels: Tensor, preprocess: Preprocess) -> Tensor:
    """(..., 3, H, W), 0 to 255, to float32, as torchvision's `to_tensor` and `normalize` do it to one image."""
    scaled = pixels.to(torch.float32, copy=True).div_(255)  # takes half the time of `pixels / 255`
    normal: Tensor = tvf.normalize(scaled, preprocess.mean, preprocess.std, inplace=True)
    return normal


def views_per_image(augment: str) -> int:
    """Number of cached views of an image: 1 for "none", K for "cached:K"; 0 for "paper", a new view in every epoch.

    Raises:
        UsageError: `augment` is none of these.
    """
    fixed = {"paper": 0, "none": 1}
    if augment in fixed:
        return fixed[augment]
    kind, _, count = augment.partition(":")
    if kind == "cached" and count.isdecimal() and int(count) > 0:
        return int(count)
    raise UsageError(f"augment {augment!r} is not known; give 'paper', 'none' or 'cached:K' for K views ('cached:8').")


def _tensor(image: Image) -> Tensor:
    """An RGB image as a (3, H, W) uint8 tensor."""
    pixels: Tensor = tvf.pil_to_tensor(image).contiguous()  # faster to stack into batches
    return pixels
