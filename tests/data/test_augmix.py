"""AugMix against the published order of random draws, written again with torchvision's normalisation."""

import numpy as np
import pytest
import torch
from numpy.random import RandomState
from PIL import Image, ImageOps

from vlprompt.data.augmix import OPERATIONS, augmix


def noise(size: int, seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8))


def published_operation(number: int, image: Image.Image, stream: RandomState) -> Image.Image:
    """Operation `number` of the published list, severity 1, written as a table of its effects on the pixels."""
    side, bilinear = image.width, Image.Resampling.BILINEAR

    def level(most: float) -> float:
        return stream.uniform(low=0.1, high=1) * most / 10

    def either(value: float) -> float:
        return -value if stream.uniform() > 0.5 else value

    if number in (0, 1):
        return (ImageOps.autocontrast, ImageOps.equalize)[number](image)
    if number == 2:
        return ImageOps.posterize(image, 4 - int(level(4)))
    if number == 3:
        return image.rotate(either(int(level(30))), resample=bilinear)
    if number == 4:
        return ImageOps.solarize(image, 256 - int(level(256)))
    amount = level(0.3) if number in (5, 6) else int(level(side / 3))
    matrix = [1.0, 0, 0, 0, 1.0, 0]
    matrix[{5: 1, 6: 3, 7: 2, 8: 5}[number]] = either(amount)
    return image.transform((side, side), Image.Transform.AFFINE, matrix, resample=bilinear)


@pytest.mark.parametrize("number", range(9))
def test_operations_are_the_published_ones(number: int) -> None:
    for seed in range(6):
        ours, theirs = RandomState(seed), RandomState(seed)
        got = OPERATIONS[number](noise(96, seed), ours)
        assert got.tobytes() == published_operation(number, noise(96, seed), theirs).tobytes()
        assert ours.uniform() == theirs.uniform(), "it made another number of draws"


def test_mixing_is_the_published_mix_of_normalised_images() -> None:
    mean, std = (torch.tensor(x, dtype=torch.float64)[:, None, None] for x in ((0.4, 0.5, 0.6), (0.2, 0.25, 0.3)))

    def normalised(pixels: np.ndarray) -> torch.Tensor:
        return (torch.from_numpy(np.array(pixels, np.float64)).permute(2, 0, 1) / 255 - mean) / std

    for seed in range(5):
        image, stream = noise(40, seed), RandomState(seed)
        weights, share = stream.dirichlet([1.0, 1.0, 1.0]), stream.beta(1.0, 1.0)
        mixed = torch.zeros(3, 40, 40, dtype=torch.float64)
        for weight in weights:
            chained = image.copy()
            for _ in range(stream.randint(1, 4)):
                chained = published_operation(stream.choice(9), chained, stream)
            mixed += weight * normalised(np.asarray(chained))
        wanted = share * normalised(np.asarray(image)) + (1 - share) * mixed
        assert torch.allclose(normalised(augmix(image, RandomState(seed))), wanted, atol=1e-5)


def test_the_global_random_state_is_not_changed() -> None:
    before = np.random.get_state()[1].copy()
    augmix(noise(20, 1), RandomState(3))
    assert np.array_equal(before, np.random.get_state()[1])
