"""Pixels: images of any depth, and arrays."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlprompt.data import pixels
from vlprompt.errors import VlpromptWarning

GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOUR = np.stack([GREY, GREY[::-1], GREY.T], axis=2)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("a.png", GREY.astype(np.uint16) * 257),
        ("a.tif", GREY.astype(np.uint16) * 257),
        ("a.pgm", GREY.astype(np.uint16) * 257),
        ("a.tif", GREY.astype(np.int32)),
        ("a.tif", GREY.astype(np.int32) * 257),
        ("a.tif", GREY.astype(np.float32) / 255),
        ("a.tif", GREY.astype(np.float32)),
        ("a.tif", GREY.astype(np.int32) * 1000 - 100_000),
    ],
)
def test_deep_images_keep_their_contents(tmp_path: Path, name: str, values: Any) -> None:
    Image.fromarray(values).save(tmp_path / name)
    with pytest.warns(VlpromptWarning, match="becomes black|smallest and largest"):
        image = pixels.decode(tmp_path / name, shown=True)
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image.convert("L")).astype(int) - GREY).max() == 0


def test_a_declared_range_is_used_and_small_values_are_reported(tmp_path: Path) -> None:
    image = Image.fromarray(GREY.astype(np.uint16) * 16)
    image.save(tmp_path / "declared.tif", tiffinfo={281: 4080})
    image.save(tmp_path / "plain.tif")
    with pytest.warns(VlpromptWarning, match="4080 white"):
        assert (np.asarray(pixels.decode(tmp_path / "declared.tif", shown=False))[..., 0] == GREY).all()
    with pytest.warns(VlpromptWarning, match="65535 white; some have small values"):
        assert np.asarray(pixels.decode(tmp_path / "plain.tif", shown=False)).max() == 16


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GREY, GREY),
        (GREY[:, :, None], GREY),
        (COLOUR, COLOUR),
        (np.moveaxis(COLOUR, 2, 0), COLOUR),
        (COLOUR / 255, COLOUR),
        ((COLOUR / 255).astype(np.float16), COLOUR),
        (GREY > 127, (GREY > 127) * 255),
    ],
)
def test_arrays_of_every_shape_and_type(array: Any, expected: Any) -> None:
    assert (np.asarray(pixels.from_array(array)) == expected).all()


@pytest.mark.filterwarnings("ignore:images with more than 8 bits")
@pytest.mark.parametrize("array", [COLOUR.astype(np.uint16) * 257, COLOUR.astype(np.int64), COLOUR.astype(np.float64)])
def test_wide_arrays_are_scaled(array: Any) -> None:
    assert (np.asarray(pixels.from_array(array)) == COLOUR).all()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 5, 5, 3)), "shape"),
        (np.zeros((0, 4)), "shape"),
        (np.zeros(4), "shape"),
        (np.zeros((4, 4), complex), "type"),
        (np.full((4, 4), "a"), "type"),
        (np.full((4, 4), -1.5), "negative values"),
    ],
)
def test_other_arrays_are_refused(array: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pixels.from_array(array)


def test_images_with_ranges_of_their_own_give_one_warning() -> None:
    messages = set()
    for shift in (-7, -9, -11):
        image = Image.fromarray(np.arange(12, dtype=np.int32).reshape(3, 4) + shift)
        with pytest.warns(VlpromptWarning, match="each by its own smallest") as caught:
            pixels.to_rgb(image, shown=True)
        messages.add(str(caught[0].message))
    assert len(messages) == 1


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
def test_an_image_without_pixels_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"no pixels: {size[0]} x {size[1]}"):
        pixels.to_rgb(Image.new("RGB", size), shown=True)


def test_a_declared_range_that_is_too_small_clips_nothing(tmp_path: Path) -> None:
    values = np.array([[0, 30000], [60000, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.tif", tiffinfo={281: 4095})
    with pytest.warns(VlpromptWarning, match="65535 white"):
        opened = np.asarray(pixels.decode(tmp_path / "a.tif", shown=True))
    assert opened[..., 0].tolist() == [[0, 117], [233, 255]]


def test_values_that_are_not_numbers_become_black() -> None:
    array = np.array([[np.nan, 1.0], [0.0, np.inf]])
    assert np.asarray(pixels.from_array(array)).tolist() == [[0, 255], [0, 255]]


def test_too_many_pixels_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    Image.new("L", (64, 64)).save(file, "png")
    monkeypatch.setattr(pixels, "MAX_PIXELS", 4095)
    monkeypatch.setattr(pixels, "to_rgb", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="64 x 64 pixels"):
        pixels.decode(file.getvalue(), shown=True)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_exif_does_not_matter() -> None:
    file = io.BytesIO()
    Image.new("RGB", (6, 4)).save(file, "jpeg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert pixels.decode(file.getvalue(), shown=True).size == (6, 4)
