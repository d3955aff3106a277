"""Decoded images that stay in memory: the same bytes as without, decoded once, within the limit."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vlprompt.data import pixels, transforms
from vlprompt.data.batch import Batch
from vlprompt.data.images import BadImageError, Example, Files, Indexed, Item
from vlprompt.data.loaders import ImageBatches
from vlprompt.data.pixels import OVERHEAD, Pixels
from vlprompt.data.transforms import Preprocess, Transform
from vlprompt.data.views import Views
from vlprompt.errors import UsageError, VlpromptWarning

Ten = tuple[Files, list[Example]]
PREPROCESS = Preprocess(16, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
TRAIN, TEST = transforms.train_transform(PREPROCESS), transforms.test_transform(PREPROCESS)
ONE = 3 * 16 * 16 + OVERHEAD  # bytes that an image made by TEST takes


class Counting(Files):
    """Files that remember what was opened, and can be told to open nothing more."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "opened", [])
        object.__setattr__(self, "closed", False)

    def open(self, item: Item) -> Image.Image:
        if self.closed:  # type: ignore[attr-defined]
            raise AssertionError(f"{item} was decoded again")
        self.opened.append(item)  # type: ignore[attr-defined]
        return super().open(item)


def run(batches: ImageBatches, number: int = 0) -> list[Batch]:
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
def test_what_is_kept_is_what_would_be_made(ten_images: Ten, workers: int, transform: Transform, seed: int) -> None:
    """To the bit, at any share that is kept, whoever decodes."""
    options = {"batch_size": 4, "seed": seed}
    wanted = [run(ImageBatches(*ten_images, transform, pixels=Pixels(0), **options), number) for number in range(2)]
    for limit in (0, 4 * ONE, 2**20):
        kept = Pixels(limit)
        for _ in range(2):  # two batches of one process, and two epochs of each
            found = ImageBatches(*ten_images, transform, pixels=kept, workers=workers, **options)
            for number in range(2):
                assert equal(list(found.epoch(number)), wanted[number])
            found.close()
        assert kept.size <= limit


def test_the_float_of_kept_bytes_is_torchvisions(ten_images: Ten) -> None:
    files, examples = ten_images
    kept = Pixels(2**20)
    for _ in range(2):
        (batch,) = run(ImageBatches(files, examples, TEST, batch_size=10, pixels=kept))
        assert batch.images is not None
        for image, example in zip(batch.images, examples, strict=True):
            assert torch.equal(image, TEST(files.open(example.item)))


def test_a_second_evaluation_decodes_nothing(ten_images: Ten) -> None:
    _, examples = ten_images
    kept, counting = Pixels(2**20), Counting()
    first = run(ImageBatches(counting, examples, TEST, batch_size=4, pixels=kept))
    object.__setattr__(counting, "closed", True)
    assert equal(run(ImageBatches(counting, examples, TEST, batch_size=4, pixels=kept)), first)
    assert len(run(ImageBatches(counting, examples[5:], TEST, batch_size=4, seed=1, pixels=kept))) == 1
    assert len(kept) == 10


def test_processes_are_given_only_what_is_not_kept(ten_images: Ten) -> None:
    files, examples = ten_images
    kept, barred = Pixels(2**20), Counting()
    first = run(ImageBatches(files, examples, TEST, batch_size=4, workers=2, pixels=kept))
    assert len(kept) == 10, "what they made was kept here"
    object.__setattr__(barred, "closed", True)  # a process that opens anything fails
    again = ImageBatches(barred, examples, TEST, batch_size=4, workers=2, pixels=kept)
    next(again.epoch(0))  # an epoch that is left before its end
    assert equal(run(again), first)


def test_batches_without_a_cache_of_their_own_share_one(ten_images: Ten) -> None:
    counting = Counting()
    first = run(ImageBatches(counting, ten_images[1], TEST, batch_size=4))
    assert equal(run(ImageBatches(counting, ten_images[1], TEST, batch_size=4)), first)
    assert len(counting.opened) == 10  # type: ignore[attr-defined]


def test_content_and_transform_tell_images_apart(ten_images: Ten, tmp_path: Path) -> None:
    files, examples = ten_images
    kept, path = Pixels(2**20), tmp_path / "changing.png"
    wider = transforms.test_transform(Preprocess(16, (0.5,) * 3, (0.5,) * 3, resize="squash"))
    for transform in (TEST, wider, TRAIN):
        alone = run(ImageBatches(files, examples, transform, batch_size=10, pixels=Pixels(0)))
        assert equal(run(ImageBatches(files, examples, transform, batch_size=10, pixels=kept)), alone)
    seen = []
    for number in range(2):
        Image.new("RGB", (20, 20), (number * 200, 0, 0)).save(path)
        os.utime(path, (number, number))
        seen += run(ImageBatches(files, [Example(path, 0)], TEST, batch_size=1, pixels=kept))
    assert not equal(seen[:1], seen[1:]), "a file that was changed is read again"


def test_data_sets_in_memory_are_known_by_themselves() -> None:
    kept, red = Pixels(2**20), (Image.new("RGB", (20, 20), "red"), 0)
    first, second = Indexed([red]), Indexed([(Image.new("RGB", (20, 20), "blue"), 0)])
    found = [run(ImageBatches(each, [Example(0, 0)], TEST, batch_size=1, pixels=kept)) for each in (first, second)]
    assert not equal(*found)
    assert len(kept) == 2
    assert equal(run(ImageBatches(first, [Example(0, 0)], TEST, batch_size=1, pixels=kept)), found[0])
    assert len(kept) == 2


def test_no_more_is_kept_than_fits(ten_images: Ten) -> None:
    _, examples = ten_images
    kept, counting = Pixels(6 * ONE), Counting()
    for _ in range(2):
        run(ImageBatches(counting, examples, TEST, batch_size=4, pixels=kept))
        assert (len(kept), kept.size) == (6, 6 * ONE)
    assert len(counting.opened) == 14, "going through more than fits still finds what fitted"  # type: ignore[attr-defined]


def test_what_earlier_batches_asked_for_gives_way(ten_images: Ten) -> None:
    _, examples = ten_images
    kept, counting = Pixels(6 * ONE), Counting()
    run(ImageBatches(counting, examples[:6], TEST, batch_size=6, pixels=kept))
    run(ImageBatches(counting, examples[4:], TEST, batch_size=6, pixels=kept))
    counting.opened.clear()  # type: ignore[attr-defined]
    run(ImageBatches(counting, examples[4:], TEST, batch_size=6, pixels=kept))
    assert counting.opened == []  # type: ignore[attr-defined]
    assert kept.size == 6 * ONE


def test_the_size_is_right_whatever_happens() -> None:
    """Against a plain count, over random puts and gets."""
    draw, kept = random.Random(0), Pixels(5000)
    turns, sizes = [kept.turn() for _ in range(4)], {}
    for _ in range(2000):
        key, turn = (str(draw.randrange(30)), ""), draw.choice(turns)
        if draw.random() < 0.5:
            value = torch.zeros(sizes.setdefault(key, draw.randrange(1, 2000)), dtype=torch.uint8)
            kept.put(key, value, turn)
        else:
            found = kept.get(key, turn)
            assert found is None or found.numel() == sizes[key]  # type: ignore[union-attr]
        held = [sizes[key] + OVERHEAD for key in kept._kept]
        assert kept.size == sum(held) <= 5000
    assert len(kept) > 1


def test_an_image_larger_than_the_limit_pushes_nothing_out() -> None:
    kept = Pixels(2000)
    kept.put(("small", ""), torch.zeros(10, dtype=torch.uint8), kept.turn())
    kept.put(("large", ""), torch.zeros(2000, dtype=torch.uint8), kept.turn())
    assert len(kept) == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_images_that_cannot_be_read_are_reported_each_time(ten_images: Ten, tmp_path: Path, workers: int) -> None:
    files, examples = ten_images
    (tmp_path / "bad.png").write_text("no image")
    mixed_in = [*examples[:2], Example(tmp_path / "bad.png", 0), examples[2], Example(tmp_path / "gone.png", 1)]
    kept = Pixels(2**20)
    for _ in range(2):
        strict = ImageBatches(files, mixed_in, TEST, batch_size=5, workers=workers, pixels=kept)
        with pytest.raises(BadImageError, match=r"^cannot read image .*bad.png: not an image"):
            run(strict)
        strict.close()
        lenient = ImageBatches(files, mixed_in, TEST, batch_size=2, workers=workers, pixels=kept, on_bad_image="skip")
        with pytest.warns(VlpromptWarning, match=r"^2 of 5 images were skipped; the first: .*bad.png"):
            found = run(lenient)
        assert torch.cat([batch.index for batch in found]).tolist() == [0, 1, 3]
        assert "gone.png: there is no such file" in lenient.skipped[4]
    assert len(kept) == 3
    examples[0].item.unlink()  # type: ignore[union-attr]
    with pytest.raises(BadImageError, match=r"0.png: there is no such file"):
        run(ImageBatches(files, examples, TEST, batch_size=2, workers=workers, pixels=kept))


def test_another_process_starts_with_none() -> None:
    kept = Pixels(2000)
    kept.put(("a", ""), torch.zeros(10, dtype=torch.uint8), kept.turn())
    make, given = kept.__reduce__()
    again = make(*given)
    assert (again.limit, len(again), again.size) == (2000, 0, 0)


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The variable that sets the limit, and the cache of the process made anew."""
    pixels.shared.cache_clear()
    yield monkeypatch
    pixels.shared.cache_clear()


def test_the_limit_of_a_process(limit: pytest.MonkeyPatch) -> None:
    assert pixels.shared().limit == 2 * 2**30
    for given, wanted in (("0.5", 2**29), ("0", 0)):
        pixels.shared.cache_clear()
        limit.setenv("VLPROMPT_PIXELS_GB", given)
        assert pixels.shared().limit == wanted
        assert pixels.shared() is pixels.shared()
    for given in ("lots", "-1", "nan", "inf", ""):
        pixels.shared.cache_clear()
        limit.setenv("VLPROMPT_PIXELS_GB", given)
        with pytest.raises(UsageError, match=f"VLPROMPT_PIXELS_GB is '{given}'; give gigabytes"):
            pixels.shared()


def test_normalised_views_are_those_of_one_call() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))
    for augmix in (False, True):
        made = Views(5, augmix).transform(PREPROCESS)
        bare = made.pixels(image, 3)
        before = bare.clone()
        assert torch.equal(transforms.normalised(bare, PREPROCESS), made(image, 3))
        assert torch.equal(bare, before), "pixels that are kept stay as they are"
