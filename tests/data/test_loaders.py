import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vlprompt.data import transforms
from vlprompt.data.batch import Batch
from vlprompt.data.images import BadImageError, Example, Files, Item
from vlprompt.data.loaders import EncodedBatches, FeatureBatches, ImageBatches, batch_count, batch_positions, mixed
from vlprompt.data.pixels import Pixels
from vlprompt.data.transforms import Transform
from vlprompt.errors import UsageError, VlpromptError, VlpromptWarning

Ten = tuple[Files, list[Example]]
PREPROCESS = transforms.Preprocess(16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
TRAIN, TEST = transforms.train_transform(PREPROCESS), transforms.test_transform(PREPROCESS)


class Counting(Files):
    """Files that remember what was opened."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "opened", [])

    def open(self, item: Item) -> Image.Image:
        self.opened.append(item)  # type: ignore[attr-defined]
        return super().open(item)


def same(first: list[Batch], second: list[Batch]) -> bool:
    """Whether two epochs hold the same batches, to the bit."""
    pairs = list(zip(first, second, strict=True))
    return all(
        torch.equal(a.index, b.index) and torch.equal(a.labels, b.labels) and torch.equal(images(a), images(b))
        for a, b in pairs
    )


def images(batch: Batch) -> Tensor:
    assert batch.images is not None
    return batch.images


def test_training_epochs_are_a_function_of_seed_and_number(ten_images: Ten) -> None:
    loader = ImageBatches(*ten_images, TRAIN, batch_size=4, seed=1)
    assert (loader.size, len(loader)) == (10, 2)
    zero, one = list(loader.epoch(0)), list(loader.epoch(1))
    assert same(zero, list(loader.epoch(0)))
    fresh = ImageBatches(*ten_images, TRAIN, batch_size=4, seed=1)
    assert same(one, list(fresh.epoch(1)))
    assert not same(zero, one)
    assert not same(zero, list(ImageBatches(*ten_images, TRAIN, batch_size=4, seed=2).epoch(0)))


def test_the_same_image_is_augmented_anew_each_epoch(ten_images: Ten) -> None:
    files, examples = ten_images
    loader = ImageBatches(files, examples[:1], TRAIN, batch_size=1, seed=0)
    views = [images(batch) for number in range(4) for batch in loader.epoch(number)]
    assert all(not torch.equal(a, b) for i, a in enumerate(views) for b in views[:i])


def test_workers_change_nothing(ten_images: Ten) -> None:
    alone = ImageBatches(*ten_images, TRAIN, batch_size=4, seed=1)
    shared = ImageBatches(*ten_images, TRAIN, batch_size=4, seed=1, workers=2)
    try:
        next(shared.epoch(5))  # an epoch that is left before its end
        for number in (0, 1):
            assert same(list(alone.epoch(number)), list(shared.epoch(number)))
    finally:
        shared.close()
    assert not multiprocessing.active_children()


def test_closing_ends_the_workers_of_an_unfinished_epoch(ten_images: Ten) -> None:
    loader = ImageBatches(*ten_images, TRAIN, batch_size=2, seed=1, workers=2)
    epoch = loader.epoch(0)
    next(epoch)
    assert len(multiprocessing.active_children()) == 2
    loader.close()
    assert not multiprocessing.active_children()
    del epoch


def test_the_global_random_state_is_neither_read_nor_changed(ten_images: Ten) -> None:
    def states() -> tuple[object, ...]:
        return random.getstate(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]

    for workers in (0, 1):
        loader = ImageBatches(*ten_images, TRAIN, batch_size=4, seed=1, workers=workers)
        torch.manual_seed(3)
        before = states()
        first = list(loader.epoch(0))
        assert states() == before
        torch.manual_seed(4)
        assert same(first, list(loader.epoch(0)))
        loader.close()


def test_without_a_seed_everything_comes_once_in_order(ten_images: Ten) -> None:
    batches = list(ImageBatches(*ten_images, TEST, batch_size=4).epoch(0))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(10))
    files, examples = ten_images
    assert torch.equal(images(batches[2])[1], TEST(files.open(examples[9].item), 0))
    assert batches[2].labels.tolist() == [examples[8].label, examples[9].label]


@pytest.mark.parametrize(("size", "batches"), [(0, 0), (3, 1), (4, 1), (7, 1), (8, 2)])
def test_the_last_incomplete_batch_is_dropped_if_there_is_a_complete_one(size: int, batches: int) -> None:
    assert batch_count(size, 4, drop_last=True) == len(batch_positions(size, 4, 1, 0)) == batches
    assert batch_count(size, 4, drop_last=False) == len(batch_positions(size, 4, None, 0)) == -(-size // 4)


@pytest.mark.parametrize("transform", [TRAIN, TEST])
def test_decoded_images_are_kept_and_change_nothing(ten_images: Ten, transform: Transform) -> None:
    _, examples = ten_images
    kept, anew = Counting(), Counting()
    first = ImageBatches(kept, examples, transform, batch_size=5, seed=1)
    second = ImageBatches(anew, examples, transform, batch_size=5, seed=1, pixels=Pixels(0))
    for number in range(3):
        assert same(list(first.epoch(number)), list(second.epoch(number)))
    assert len(kept.opened) == 10  # type: ignore[attr-defined]
    assert len(anew.opened) == 30  # type: ignore[attr-defined]


def test_bad_images_stop_the_work_or_are_skipped(ten_images: Ten, tmp_path: Path) -> None:
    files, examples = ten_images
    (tmp_path / "bad.png").write_text("no image")
    mixed_in = [*examples[:4], Example(tmp_path / "bad.png", 0), *examples[4:], Example(tmp_path / "gone.png", 1)]
    for workers in (0, 1):
        strict = ImageBatches(files, mixed_in, TEST, batch_size=3, workers=workers)
        with pytest.raises(BadImageError, match=r"bad.png: not an image"):
            list(strict.epoch(0))
        strict.close()
        lenient = ImageBatches(files, mixed_in, TEST, batch_size=3, workers=workers, on_bad_image="skip")
        with pytest.warns(VlpromptWarning, match=r"^2 of 12 images were skipped; the first: .*bad.png") as caught:
            batches = list(lenient.epoch(0))
        assert len(caught) == 1
        assert torch.cat([batch.index for batch in batches]).tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]
        assert sorted(lenient.skipped) == [4, 11]
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # said once
            assert len(list(lenient.epoch(1))) == 4
        lenient.close()


def test_a_batch_of_bad_images_alone_is_left_out(tmp_path: Path) -> None:
    loader = ImageBatches(Files(), [Example(tmp_path / "gone", 0)], TEST, batch_size=1, on_bad_image="skip")
    with pytest.warns(VlpromptWarning, match="1 of 1 images"):
        assert list(loader.epoch(0)) == []


class Fatal(Files):
    """Files whose reader is killed, as by a machine without memory."""

    def open(self, item: Item) -> Image.Image:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().open(item)


def test_a_worker_that_dies_is_an_error_that_says_what_to_do(ten_images: Ten) -> None:
    loader = ImageBatches(Fatal(), ten_images[1], TEST, batch_size=5, workers=1)
    with pytest.raises(VlpromptError, match=r"a loader process died .*use fewer workers"):
        list(loader.epoch(0))


def test_refuses_nonsense(ten_images: Ten) -> None:
    with pytest.raises(UsageError, match="batch_size must be 1 or more, got 0"):
        ImageBatches(*ten_images, TEST, batch_size=0)
    with pytest.raises(UsageError, match="workers must be 0 or more"):
        ImageBatches(*ten_images, TEST, batch_size=1, workers=-1)
    with pytest.raises(UsageError, match="did you mean 'skip'"):
        ImageBatches(*ten_images, TEST, batch_size=1, on_bad_image="skp")


def test_features_rotate_through_the_cached_views() -> None:
    views = torch.arange(24.0).reshape(3, 4, 2)
    loader = FeatureBatches(views, [0, 1, 2, 3], batch_size=2, seed=5)
    for number in range(5):
        for batch in loader.epoch(number):
            assert batch.images is None
            assert batch.features is not None
            assert torch.equal(batch.features, views[number % 3][batch.index])
            assert torch.equal(batch.labels, batch.index)


def test_features_come_in_the_order_that_images_would(ten_images: Ten) -> None:
    by_image = ImageBatches(*ten_images, TRAIN, batch_size=4, seed=9)
    by_feature = FeatureBatches(torch.zeros(10, 2), [0] * 10, batch_size=4, seed=9)
    for number in range(3):
        order = [[batch.index.tolist() for batch in each.epoch(number)] for each in (by_image, by_feature)]
        assert order[0] == order[1]


def test_features_must_go_with_the_labels() -> None:
    with pytest.raises(UsageError, match=r"features \(4, 2\) do not go with 3 labels"):
        FeatureBatches(torch.zeros(4, 2), [0, 1, 2], batch_size=2)


def test_encoded_batches_add_features_without_gradients(ten_images: Ten) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    inner = ImageBatches(*ten_images, TEST, batch_size=4)
    encoded = EncodedBatches(inner, lambda x: x.mean(dim=(2, 3)) * weight)
    assert (encoded.size, len(encoded)) == (10, 3)
    for batch, plain in zip(encoded.epoch(0), inner.epoch(0), strict=True):
        assert batch.features is not None
        assert not batch.features.requires_grad
        assert torch.equal(batch.features, images(plain).mean(dim=(2, 3)))
    with pytest.raises(UsageError, match="hold no images"):
        next(EncodedBatches(FeatureBatches(torch.zeros(1, 1), [0], batch_size=1), torch.neg).epoch(0))


def test_seeds_are_mixed_well() -> None:
    seeds = {mixed(seed, epoch, i) for seed in range(5) for epoch in range(5) for i in range(40)}
    assert len(seeds) == 1000
    assert mixed(1, 23) != mixed(12, 3)
    assert mixed(1, 2, 3) == 6324621507830635742
    assert max(seeds) < 2**63


LOAD_FOR_EVER = """
import multiprocessing, signal, sys, time
from vlprompt.data import transforms
from vlprompt.data.images import Example, Files
from vlprompt.data.loaders import ImageBatches

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it, as `nohup` in a script

class Slow(Files):
    def open(self, item):
        time.sleep(0.05)
        return super().open(item)

plain = transforms.test_transform(transforms.Preprocess(16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)))
examples = [Example(path, 0) for path in sys.argv[1:]] * 1000
for number, _ in enumerate(ImageBatches(Slow(), examples, plain, batch_size=2, seed=0, workers=2).epoch(0)):
    if number == 1:
        print(*[child.pid for child in multiprocessing.active_children()], flush=True)
"""


def test_interrupting_ends_the_workers(ten_images: Ten) -> None:
    """Ctrl-C in a terminal reaches a program and its workers at once."""
    paths = [str(example.item) for example in ten_images[1]]
    command = [sys.executable, "-c", LOAD_FOR_EVER, *paths]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, start_new_session=True, **pipes) as program:
        assert program.stdout is not None
        workers = [int(pid) for pid in program.stdout.readline().split()]
        assert len(workers) == 2
        os.killpg(program.pid, signal.SIGINT)
        _, errors = program.communicate(timeout=60)
    assert program.returncode == -signal.SIGINT, errors
    assert errors.count("Traceback") == 1, errors  # the parent's alone
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(alive(pid) for pid in workers)


def alive(pid: int) -> bool:
    """Whether a process still runs (one that waits to be buried does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
