"""Decoded images in memory: the same bytes as without a cache, decoded once, within the limit."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vlprompt.data import pixel_cache, transforms
from vlprompt.data.batch import Batch
from vlprompt.data.batches import Batches, image_batches
from vlprompt.data.images import BadImageError, Example, Files, Indexed, Item
from vlprompt.data.pixel_cache import OVERHEAD, PixelCache
from vlprompt.data.transforms import Preprocess, Transform
from vlprompt.data.views import Views
from vlprompt.errors import UsageError, VlpromptWarning

Ten = tuple[Files, list[Example]]
PREPROCESS = Preprocess(16, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
TRAIN, TEST = transforms.train_transform(PREPROCESS), transforms.test_transform(PREPROCESS)
ONE = 3 * 16 * 16 + OVERHEAD  # bytes that an image made by TEST takes


class Counting(Files):
    """Files that record what is opened, and that raise an error once they are closed."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "opened", [])
        object.__setattr__(self, "closed", False)

    def open(self, item: Item) -> Image.Image:
        if self.closed:  # type: ignore[attr-defined]
            raise AssertionError(f"{item} was decoded again")
        self.opened.append(item)  # type: ignore[attr-defined]
        return super().open(item)


def run(batches: Batches, number: int = 0) -> list[Batch]:
    found = list(batches.epoch(number))
    batches.close()
    return found


def bytes_of(batches: list[Batch]) -> list[Tensor]:
    return [value for batch in batches for value in (batch.images, batch.index, batch.labels) if value is not None]


def equal(first: list[Batch], second: list[Batch]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(bytes_of(first), bytes_of(second), strict=True))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("transform", [TRAIN, TEST])
@pytest.mark.parametrize("seed", [None, 4])
def test_cached_images_equal_computed_ones(ten_images: Ten, workers: int, transform: Transform, seed: int) -> None:
    """To the bit, for any share of the images in the cache, in this process or in others."""
    options = {"batch_size": 4, "seed": seed}
    wanted = [run(image_batches(*ten_images, transform, cache=PixelCache(0), **options), number) for number in range(2)]
    for limit in (0, 4 * ONE, 2**20):
        cache = PixelCache(limit)
        for _ in range(2):  # two batches of one process, and two epochs of each
            found = image_batches(*ten_images, transform, cache=cache, workers=workers, **options)
            for number in range(2):
                assert equal(list(found.epoch(number)), wanted[number])
            found.close()
        assert cache.size <= limit


def test_floats_from_cached_bytes_are_torchvisions(ten_images: Ten) -> None:
    files, examples = ten_images
    cache = PixelCache(2**20)
    for _ in range(2):
        (batch,) = run(image_batches(files, examples, TEST, batch_size=10, cache=cache))
        assert batch.images is not None
        for image, example in zip(batch.images, examples, strict=True):
            assert torch.equal(image, TEST(files.open(example.item)))


def test_a_second_evaluation_decodes_nothing(ten_images: Ten) -> None:
    _, examples = ten_images
    cache, counting = PixelCache(2**20), Counting()
    first = run(image_batches(counting, examples, TEST, batch_size=4, cache=cache))
    object.__setattr__(counting, "closed", True)
    assert equal(run(image_batches(counting, examples, TEST, batch_size=4, cache=cache)), first)
    assert len(run(image_batches(counting, examples[5:], TEST, batch_size=4, seed=1, cache=cache))) == 1
    assert len(cache) == 10


def test_processes_decode_only_what_is_not_cached(ten_images: Ten) -> None:
    files, examples = ten_images
    cache, barred = PixelCache(2**20), Counting()
    first = run(image_batches(files, examples, TEST, batch_size=4, workers=2, cache=cache))
    assert len(cache) == 10, "their results are cached in this process"
    object.__setattr__(barred, "closed", True)  # a process that opens a file fails
    again = image_batches(barred, examples, TEST, batch_size=4, workers=2, cache=cache)
    next(again.epoch(0))  # an epoch that is not finished
    assert equal(run(again), first)


def test_batches_without_a_cache_of_their_own_share_one(ten_images: Ten) -> None:
    counting = Counting()
    first = run(image_batches(counting, ten_images[1], TEST, batch_size=4))
    assert equal(run(image_batches(counting, ten_images[1], TEST, batch_size=4)), first)
    assert len(counting.opened) == 10  # type: ignore[attr-defined]


def test_entries_belong_to_content_and_transform(ten_images: Ten, tmp_path: Path) -> None:
    files, examples = ten_images
    cache, path = PixelCache(2**20), tmp_path / "changing.png"
    wider = transforms.test_transform(Preprocess(16, (0.5,) * 3, (0.5,) * 3, resize="squash"))
    for transform in (TEST, wider, TRAIN):
        alone = run(image_batches(files, examples, transform, batch_size=10, cache=PixelCache(0)))
        assert equal(run(image_batches(files, examples, transform, batch_size=10, cache=cache)), alone)
    seen = []
    for number in range(2):
        Image.new("RGB", (20, 20), (number * 200, 0, 0)).save(path)
        os.utime(path, (number, number))
        seen += run(image_batches(files, [Example(path, 0)], TEST, batch_size=1, cache=cache))
    assert not equal(seen[:1], seen[1:]), "a file that was changed is read again"


def test_data_sets_in_memory_have_entries_of_their_own() -> None:
    cache, red = PixelCache(2**20), (Image.new("RGB", (20, 20), "red"), 0)
    first, second = Indexed([red]), Indexed([(Image.new("RGB", (20, 20), "blue"), 0)])
    found = [run(image_batches(each, [Example(0, 0)], TEST, batch_size=1, cache=cache)) for each in (first, second)]
    assert not equal(*found)
    assert len(cache) == 2
    assert equal(run(image_batches(first, [Example(0, 0)], TEST, batch_size=1, cache=cache)), found[0])
    assert len(cache) == 2


def test_the_limit_is_not_exceeded(ten_images: Ten) -> None:
    _, examples = ten_images
    cache, counting = PixelCache(6 * ONE), Counting()
    for _ in range(2):
        run(image_batches(counting, examples, TEST, batch_size=4, cache=cache))
        assert (len(cache), cache.size) == (6, 6 * ONE)
    assert len(counting.opened) == 14, "a pass over more images than fit still finds those that did"  # type: ignore[attr-defined]


def test_entries_of_earlier_readers_are_replaced(ten_images: Ten) -> None:
    _, examples = ten_images
    cache, counting = PixelCache(6 * ONE), Counting()
    run(image_batches(counting, examples[:6], TEST, batch_size=6, cache=cache))
    run(image_batches(counting, examples[4:], TEST, batch_size=6, cache=cache))
    counting.opened.clear()  # type: ignore[attr-defined]
    run(image_batches(counting, examples[4:], TEST, batch_size=6, cache=cache))
    assert counting.opened == []  # type: ignore[attr-defined]
    assert cache.size == 6 * ONE


def test_the_size_is_right_after_random_calls() -> None:
    """Compared with a plain count."""
    draw, cache = random.Random(0), PixelCache(5000)
    readers, sizes = [cache.new_reader() for _ in range(4)], {}
    for _ in range(2000):
        key, reader = (str(draw.randrange(30)), ""), draw.choice(readers)
        if draw.random() < 0.5:
            value = torch.zeros(sizes.setdefault(key, draw.randrange(1, 2000)), dtype=torch.uint8)
            cache.put(key, value, reader)
        else:
            found = cache.get(key, reader)
            assert found is None or found.numel() == sizes[key]  # type: ignore[union-attr]
        held = [sizes[key] + OVERHEAD for key in cache._entries]
        assert cache.size == sum(held) <= 5000
    assert len(cache) > 1


def test_an_image_larger_than_the_limit_replaces_nothing() -> None:
    cache = PixelCache(2000)
    cache.put(("small", ""), torch.zeros(10, dtype=torch.uint8), cache.new_reader())
    cache.put(("large", ""), torch.zeros(2000, dtype=torch.uint8), cache.new_reader())
    assert len(cache) == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_images_that_cannot_be_read_are_reported_each_time(ten_images: Ten, tmp_path: Path, workers: int) -> None:
    files, examples = ten_images
    (tmp_path / "bad.png").write_text("no image")
    mixed_in = [*examples[:2], Example(tmp_path / "bad.png", 0), examples[2], Example(tmp_path / "gone.png", 1)]
    cache = PixelCache(2**20)
    for _ in range(2):
        strict = image_batches(files, mixed_in, TEST, batch_size=5, workers=workers, cache=cache)
        with pytest.raises(BadImageError, match=r"^cannot read image .*bad.png: not an image"):
            run(strict)
        strict.close()
        lenient = image_batches(files, mixed_in, TEST, batch_size=2, workers=workers, cache=cache, on_bad_image="skip")
        with pytest.warns(VlpromptWarning, match=r"^2 of 5 images were skipped; the first: .*bad.png"):
            found = run(lenient)
        assert torch.cat([batch.index for batch in found]).tolist() == [0, 1, 3]
        assert lenient.images is not None
        assert "gone.png: there is no such file" in lenient.images.bad.reasons[4]
    assert len(cache) == 3
    examples[0].item.unlink()  # type: ignore[union-attr]
    with pytest.raises(BadImageError, match=r"0.png: there is no such file"):
        run(image_batches(files, examples, TEST, batch_size=2, workers=workers, cache=cache))


def test_another_process_starts_with_an_empty_cache() -> None:
    cache = PixelCache(2000)
    cache.put(("a", ""), torch.zeros(10, dtype=torch.uint8), cache.new_reader())
    make, given = cache.__reduce__()
    again = make(*given)
    assert (again.limit, len(again), again.size) == (2000, 0, 0)


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The variable that sets the limit, with a new cache of the process."""
    pixel_cache.shared_cache.cache_clear()
    yield monkeypatch
    pixel_cache.shared_cache.cache_clear()


def test_the_limit_of_a_process(limit: pytest.MonkeyPatch) -> None:
    assert pixel_cache.shared_cache().limit == 2 * 2**30
    for given, wanted in (("0.5", 2**29), ("0", 0)):
        pixel_cache.shared_cache.cache_clear()
        limit.setenv("VLPROMPT_PIXELS_GB", given)
        assert pixel_cache.shared_cache().limit == wanted
        assert pixel_cache.shared_cache() is pixel_cache.shared_cache()
    for given in ("lots", "-1", "nan", "inf", ""):
        pixel_cache.shared_cache.cache_clear()
        limit.setenv("VLPROMPT_PIXELS_GB", given)
        with pytest.raises(UsageError, match=f"VLPROMPT_PIXELS_GB is '{given}'; give gigabytes"):
            pixel_cache.shared_cache()


def test_views_normalised_later_are_those_of_one_call() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))
    for augmix in (False, True):
        made = Views(5, augmix).transform(PREPROCESS)
        bare = made.pixels(image, 3)
        before = bare.clone()
        assert torch.equal(transforms.normalised(bare, PREPROCESS), made(image, 3))
        assert torch.equal(bare, before), "cached pixels are not changed"
