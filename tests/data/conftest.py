"""Small pictures to read: every one different, and made anew in a temporary folder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlprompt.data.images import Example, Files

Draw = Callable[..., Path]


@pytest.fixture
def draw_image() -> Draw:
    """Write an image of noise: draw_image(path, seed=0, size=(40, 30))."""

    def draw(path: Path, seed: int = 0, size: tuple[int, int] = (40, 30)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return draw


@pytest.fixture
def ten_images(tmp_path: Path, draw_image: Draw) -> tuple[Files, list[Example]]:
    """Ten images of three classes and different sizes."""
    root = tmp_path / "ten"
    paths = [draw_image(root / f"{i}.png", seed=i, size=(33 + i, 40 - i)) for i in range(10)]
    return Files(root), [Example(path, i % 3) for i, path in enumerate(paths)]
