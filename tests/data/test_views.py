"""Views are the published ones and a function of (content, seed, settings); each is encoded once."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision.transforms as tv
from PIL import Image

from vlprompt.data import transforms, views
from vlprompt.data.features import FeatureStore
from vlprompt.data.images import Example, Files
from vlprompt.data.transforms import Preprocess
from vlprompt.data.views import Views, encode_views
from vlprompt.errors import UsageError

CLIP = Preprocess(16, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(50, 41), (8, 8), (20, 100)])
def test_views_are_the_published_ones_to_the_bit(size: tuple[int, int]) -> None:
    """The clean image by the test transform, then torchvision's crop with its own defaults: bilinear."""
    finish = [tv.ToTensor(), tv.Normalize(CLIP.mean, CLIP.std)]
    crop = tv.Compose([tv.RandomResizedCrop(16), tv.RandomHorizontalFlip(), *finish])
    bicubic = tv.InterpolationMode.BICUBIC
    clean = tv.Compose([tv.Resize(16, bicubic), tv.CenterCrop(16), *finish])
    for seed in range(3):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            wanted = torch.stack([clean(noise(*size)), *(crop(noise(*size)) for _ in range(7))])
        assert torch.equal(Views(8).transform(CLIP)(noise(*size), seed), wanted)


def test_augmix_changes_the_random_views_only_and_keeps_their_crops() -> None:
    plain, mixed = (Views(9, augmix).transform(CLIP)(noise(50, 41), 5) for augmix in (False, True))
    assert torch.equal(plain[0], mixed[0])
    assert not any(torch.equal(a, b) for a, b in zip(plain[1:], mixed[1:], strict=True))
    apart = (plain[1:] - mixed[1:]).abs().mean(dim=(1, 2, 3))
    unrelated = (plain[1:] - plain[1:].roll(1, 0)).abs().mean(dim=(1, 2, 3))
    assert (apart < unrelated).float().mean() > 0.8, "a mixed view still shows its crop"
    low = (torch.zeros(3, 1, 1) - torch.tensor(CLIP.mean)[:, None, None]) / torch.tensor(CLIP.std)[:, None, None]
    assert (mixed >= low - 1e-4).all()


def test_fewer_views_are_the_first_of_more() -> None:
    for augmix in (False, True):
        many, few = (Views(n, augmix).transform(CLIP)(noise(30, 30), 2) for n in (12, 5))
        assert torch.equal(many[:5], few)


def test_one_view_is_the_plain_image_and_none_is_refused() -> None:
    one = Views(1, True).transform(CLIP)
    assert torch.equal(one(noise(50, 41), 3)[0], transforms.test_transform(CLIP)(noise(50, 41)))
    assert not one.random
    with pytest.raises(UsageError, match=r"Views\.count is 0; it must be a whole number, 1 or more"):
        Views(0)


def test_different_views_have_different_keys() -> None:
    wishes = [Views(8), Views(9), Views(8, True), Views(1)]
    keys = {wish.transform(p).key for wish in wishes for p in (CLIP, replace(CLIP, size=17))}
    assert len(keys) == 8
    assert Views(8, seed=1).transform(CLIP).key == Views(8, seed=2).transform(CLIP).key, "the store adds the seed"


def test_more_views_than_memory_are_an_error_with_a_number_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views.psutil, "virtual_memory", lambda: SimpleNamespace(total=2**30))
    with pytest.raises(UsageError, match=r"5000 views of 224 pixels take 5\.6 GB for each image") as error:
        Views(5000).transform(replace(CLIP, size=224))
    most = int(str(error.value).rsplit("use ", 1)[1].split()[0])
    assert 200 < most < 250
    Views(most).transform(replace(CLIP, size=224))
    assert "\n" not in str(error.value)


def test_views_are_encoded_in_parts_of_limited_size() -> None:
    sizes = []

    def encode(images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return images.mean(dim=(2, 3))

    images = torch.randn(3, 50, 3, 4, 4)
    assert torch.equal(encode_views(encode, images), images.mean(dim=(3, 4)))
    assert max(sizes) <= 64
    assert sum(sizes) == 150


def test_an_image_has_the_same_views_anywhere(ten_images: tuple[Files, list[Example]], tmp_path: Path) -> None:
    images, examples = ten_images
    transform = Views(5, True).transform(CLIP)

    def features(folder: str, some: list[Example], workers: int = 0) -> torch.Tensor:
        return FeatureStore(tmp_path / folder).get(
            lambda views: encode_views(lambda x: x.flatten(1)[:, ::97], views).flatten(1),
            "encoder", transform, images, some, seed=3, batch_size=2, workers=workers,
        )  # fmt: skip

    wanted = features("a", examples)
    assert torch.equal(features("b", examples[::-1]), wanted.flip(0))
    assert torch.equal(features("c", examples[4:7]), wanted[4:7])
    assert torch.equal(features("d", examples, workers=1), wanted)
