"""From encoded images, PIL images of any mode and arrays to RGB with 8 bits per channel.

Values with more than 8 bits are scaled by a fixed range, so that all images of a data set are scaled alike: unsigned
16-bit integers by 65535, or by the range that a TIFF file declares (12 bits); floats by 1, 255 or 65535, and wider
integers by 255 or 65535, whichever is the first that holds all values of the image. Only where no such range holds the
values (negative ones, larger ones) is an image scaled by its own smallest and largest value. A warning states the
range.
"""

import functools
import io
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vlprompt.errors import warn

# Formats whose decoder runs inside Pillow. EPS, for instance, would start ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "ICO", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF")
MAX_PIXELS = 128 * 2**20  # 0.5 GB as RGB in Pillow
ORIENTATION = 0x0112  # EXIF
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BITS_PER_SAMPLE, MAX_SAMPLE = 258, 281  # TIFF
LIMITS = (1.0, 255.0, 65535.0)  # the first that holds all values becomes white; the first one for floats only
CHANNELS = (1, 3, 4)
Array = np.ndarray[Any, Any]


def decode(source: Path | bytes, *, shown: bool) -> Image.Image:
    """Decode a file, or its bytes, to RGB; `shown` as for `to_rgb`.

    Raises:
        Exception: Any error of Pillow's decoders.
        ValueError: The image has more than MAX_PIXELS pixels.
    """
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_formats()) as image:
        if image.width * image.height > MAX_PIXELS:
            size = f"{image.width} x {image.height} pixels"
            raise ValueError(f"it has {size}; at most {MAX_PIXELS // 2**20} megapixels are read, make it smaller first")
        return to_rgb(image, shown=shown)


def to_rgb(image: Image.Image, *, shown: bool) -> Image.Image:
    """An image of any mode as RGB.

    Args:
        image: Any PIL image.
        shown: As an image viewer shows it: turned as EXIF states, transparent parts on white. False: as it is stored,
            without its alpha channel, which is what `convert("RGB")` of the reference loaders gives.

    Raises:
        ValueError: The image has no pixels.
    """
    if 0 in image.size:
        raise ValueError(f"it has no pixels: {image.width} x {image.height}")
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        rgb = Image.fromarray(_eight_bits(np.asarray(image), _declared(image))).convert("RGB")
    elif shown and image.has_transparency_data:
        own = image.convert("RGBA")
        rgb = Image.alpha_composite(Image.new("RGBA", own.size, "white"), own).convert("RGB")
    else:
        rgb = image.convert("RGB")
    turn = UPRIGHT.get(_orientation(image)) if shown else None
    if turn is not None:
        rgb = rgb.transpose(turn)
        rgb.info = {}  # or its EXIF would turn it again
    return rgb


def from_array(array: Array) -> Image.Image:
    """An image from (H, W), (H, W, C) or (C, H, W) numbers of 1, 3 or 4 channels: bool, integers or floats.

    Raises:
        ValueError: Another shape or type, or negative floats.
    """
    if not is_image_shape(array.shape):
        raise ValueError(f"its shape is {array.shape}; give (H, W), (H, W, 3) or (3, H, W)")
    if array.dtype.kind not in "buif":
        raise ValueError(f"its type is {array.dtype}; give integers, floats or bool")
    if array.dtype.kind == "f" and np.nanmin(array, initial=0) < -0.001:
        raise ValueError("it has negative values, as normalised images have; give floats in 0..1")
    if array.ndim == 3 and array.shape[2] not in CHANNELS:
        array = np.moveaxis(array, 0, 2)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype.kind == "b":
        array = array.astype(np.uint8) * np.uint8(255)
    return Image.fromarray(
        np.ascontiguousarray(array if array.dtype == np.uint8 else _eight_bits(array, plain=LIMITS[:2]))
    )


def is_image_shape(shape: tuple[int, ...]) -> bool:
    """Whether an array of this shape is one image."""
    channels = len(shape) == 3 and (shape[0] in CHANNELS or shape[2] in CHANNELS)
    return 0 not in shape and (len(shape) == 2 or channels)


@functools.cache
def _formats() -> tuple[str, ...]:
    """The formats that this Pillow, with its installed plugins, can decode."""
    with suppress(ImportError):
        import pillow_heif  # type: ignore[import-not-found]

        pillow_heif.register_heif_opener()
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 where there is none or where the EXIF data are damaged."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF does not damage the pixels
        return 1


def _declared(image: Image.Image) -> int:
    """The largest value that a file's header or format allows, 0 where it declares none."""
    if image.format in ("PNG", "PPM"):  # Pillow may give their 16 bits as wider integers
        return 65535
    tags = getattr(image, "tag_v2", {})
    bits, top = (tags.get(tag) for tag in (BITS_PER_SAMPLE, MAX_SAMPLE))
    top = top[0] if isinstance(top, tuple) else top
    if image.mode.startswith("I;16"):
        return int(top or 2 ** (bits[0] if bits else 16) - 1)
    return 0


def _eight_bits(values: Array, top: int = 0, *, plain: tuple[float, ...] = ()) -> Array:
    """Numbers scaled to uint8 by `top`, or by the range of their type; NaN becomes black.

    Args:
        values: Integers or floats.
        top: The value that becomes white, where it is declared.
        plain: White values that need no warning.
    """
    deep = values.dtype.kind == "u" and values.dtype.itemsize == 2
    if deep and not 0 < values.max(initial=0) <= top:  # nothing is declared, or less than there is
        top = 65535
    low, high = (0.0, float(top)) if top else _range(values)
    if low or high not in (*LIMITS, top):  # without the numbers, since each image has others
        warn("images with values outside the usual ranges are scaled, each by its own smallest and largest value.")
    elif high not in plain:
        small = high == 65535 and values.size and np.nanmax(values) <= 4095
        advice = "; some have small values (12 bits?) and are dark, convert them to their full range" if small else ""
        warn(f"images with more than 8 bits are scaled: {low:g} becomes black, {high:g} white{advice}.")
    scaled = (values.astype(np.float64) - low) * (255 / max(high - low, np.finfo(np.float64).tiny))
    bounded: Array = np.rint(np.nan_to_num(scaled, nan=0.0).clip(0, 255)).astype(np.uint8)
    return bounded


def _range(values: Array) -> tuple[float, float]:
    """The values that become black and white: 0 and the first fixed limit that holds all values, else their range."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    floats = values.dtype.kind == "f"
    slack = 0.001 if floats else 0.0  # resizing can overshoot a little
    for limit in LIMITS if floats else LIMITS[1:]:
        if -slack * limit <= low and high <= limit * (1 + slack):
            return 0.0, limit
    return low, high
