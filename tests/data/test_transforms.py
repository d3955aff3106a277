import dataclasses
import json

import numpy as np
import pytest
import torch
import torchvision.transforms as tv
import torchvision.transforms.functional as tvf
from PIL import Image

from vlprompt.data import transforms
from vlprompt.errors import UsageError

CLIP = transforms.Preprocess(
    32, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711), interpolation="bicubic"
)
BICUBIC = tv.InterpolationMode.BICUBIC


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(50, 41), (41, 50), (32, 32), (8, 8), (333, 20), (20, 333), (1, 1)])
def test_test_transform_is_torchvisions_to_the_bit(size: tuple[int, int]) -> None:
    published = tv.Compose(
        [tv.Resize(32, BICUBIC), tv.CenterCrop(32), tv.ToTensor(), tv.Normalize(CLIP.mean, CLIP.std)]
    )
    assert torch.equal(transforms.test_transform(CLIP)(noise(*size), 3), published(noise(*size)))


@pytest.mark.parametrize("size", [(50, 41), (41, 50), (8, 8), (333, 20)])
def test_train_transform_is_torchvisions_to_the_bit(size: tuple[int, int]) -> None:
    published = tv.Compose(
        [
            tv.RandomResizedCrop(32, scale=(0.08, 1.0), interpolation=BICUBIC),
            tv.RandomHorizontalFlip(),
            tv.ToTensor(),
            tv.Normalize(CLIP.mean, CLIP.std),
        ]
    )
    ours = transforms.train_transform(CLIP)
    for seed in range(12):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            expected = published(noise(*size))
        assert torch.equal(ours(noise(*size), seed), expected)


def test_random_crops_neither_read_nor_change_the_global_generator() -> None:
    ours = transforms.train_transform(CLIP)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = ours(noise(50, 41), 7)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(ours(noise(50, 41), 7), first)
    assert not torch.equal(ours(noise(50, 41), 8), first)


def test_squash_resizes_both_sides_without_a_crop() -> None:
    squash = dataclasses.replace(CLIP, resize="squash")
    published = tv.Compose([tv.Resize((32, 32), BICUBIC), tv.ToTensor(), tv.Normalize(CLIP.mean, CLIP.std)])
    assert torch.equal(transforms.test_transform(squash)(noise(70, 35), 0), published(noise(70, 35)))


def test_different_transforms_have_different_keys() -> None:
    variants = [
        CLIP,
        dataclasses.replace(CLIP, size=33),
        dataclasses.replace(CLIP, interpolation="bilinear"),
        dataclasses.replace(CLIP, mean=(0.5, 0.5, 0.5)),
        dataclasses.replace(CLIP, std=(0.5, 0.5, 0.5)),
        dataclasses.replace(CLIP, resize="squash"),
    ]
    makers = (transforms.test_transform, transforms.train_transform)
    assert len({make(p).key for p in variants for make in makers}) == 12
    assert not transforms.test_transform(CLIP).random
    assert transforms.train_transform(CLIP).random


def test_survives_json_and_stays_hashable() -> None:
    again = transforms.Preprocess(**json.loads(json.dumps(dataclasses.asdict(CLIP))))
    assert again == CLIP
    assert hash(again) == hash(CLIP)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "size >= 1"),
        ({"std": (1.0, 0.0, 1.0)}, "positive stds"),
        ({"mean": (1.0,)}, "three means"),
        ({"interpolation": "bicubical"}, "did you mean 'bicubic'"),
        ({"resize": "longest"}, "unknown resize"),
    ],
)
def test_wrong_settings_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(CLIP, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(4, 40_000), (40_000, 3), (1, 200_000)])
def test_long_strips_are_cropped_before_they_are_resized(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    resize = tvf.resize
    monkeypatch.setattr(tvf, "resize", lambda image, *rest: sizes.append(image.size) or resize(image, *rest))
    pixels = transforms.test_transform(transforms.Preprocess(224, (0, 0, 0), (1, 1, 1))).pixels(
        Image.new("RGB", size, (9, 8, 7))
    )
    assert pixels.shape == (3, 224, 224)
    assert (torch.tensor([9, 8, 7], dtype=torch.uint8) == pixels.flatten(1).T).all()
    assert max(sizes[0]) <= 32 * min(size)
