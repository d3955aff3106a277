"""Images of batches: a function of (seed, epoch) that neither workers nor caches nor global random state change."""

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
from vlprompt.data.batch import Batch, images_of
from vlprompt.data.batches import image_batches
from vlprompt.data.image_reader import readable
from vlprompt.data.images import BadImageError, Example, Files, Item
from vlprompt.data.pixel_cache import PixelCache
from vlprompt.data.task import Task
from vlprompt.data.transforms import Transform
from vlprompt.errors import UsageError, VlpromptError, VlpromptWarning

Ten = tuple[Files, list[Example]]
PREPROCESS = transforms.Preprocess(16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
TRAIN, TEST = transforms.train_transform(PREPROCESS), transforms.test_transform(PREPROCESS)


class Counting(Files):
    """Files that record what is opened."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "opened", [])

    def open(self, item: Item) -> Image.Image:
        self.opened.append(item)  # type: ignore[attr-defined]
        return super().open(item)


def fields(batch: Batch) -> tuple[Tensor, ...]:
    return batch.index, batch.labels, images_of(batch)


def same(first: list[Batch], second: list[Batch]) -> bool:
    """Whether two epochs have the same batches, to the bit."""
    pairs = zip(first, second, strict=True)
    return all(torch.equal(a, b) for x, y in pairs for a, b in zip(fields(x), fields(y), strict=True))


def test_training_epochs_are_a_function_of_seed_and_number(ten_images: Ten) -> None:
    batches = image_batches(*ten_images, TRAIN, batch_size=4, seed=1)
    assert (batches.size, len(batches)) == (10, 2)
    zero, one = list(batches.epoch(0)), list(batches.epoch(1))
    assert same(zero, list(batches.epoch(0)))
    fresh = image_batches(*ten_images, TRAIN, batch_size=4, seed=1)
    assert same(one, list(fresh.epoch(1)))
    assert not same(zero, one)
    assert not same(zero, list(image_batches(*ten_images, TRAIN, batch_size=4, seed=2).epoch(0)))


def test_an_image_is_augmented_differently_in_each_epoch(ten_images: Ten) -> None:
    files, examples = ten_images
    batches = image_batches(files, examples[:1], TRAIN, batch_size=1, seed=0)
    views = [images_of(batch) for number in range(4) for batch in batches.epoch(number)]
    assert all(not torch.equal(a, b) for i, a in enumerate(views) for b in views[:i])


def test_workers_change_nothing(ten_images: Ten) -> None:
    alone = image_batches(*ten_images, TRAIN, batch_size=4, seed=1)
    shared = image_batches(*ten_images, TRAIN, batch_size=4, seed=1, workers=2)
    try:
        next(shared.epoch(5))  # an epoch that is not finished
        for number in (0, 1):
            assert same(list(alone.epoch(number)), list(shared.epoch(number)))
    finally:
        shared.close()
    assert not multiprocessing.active_children()


def test_closing_ends_the_workers_of_an_unfinished_epoch(ten_images: Ten) -> None:
    batches = image_batches(*ten_images, TRAIN, batch_size=2, seed=1, workers=2)
    epoch = batches.epoch(0)
    next(epoch)
    assert len(multiprocessing.active_children()) == 2
    batches.close()
    assert not multiprocessing.active_children()
    del epoch


def test_the_global_random_state_is_neither_read_nor_changed(ten_images: Ten) -> None:
    def states() -> tuple[object, ...]:
        return random.getstate(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]

    for workers in (0, 1):
        batches = image_batches(*ten_images, TRAIN, batch_size=4, seed=1, workers=workers)
        torch.manual_seed(3)
        before = states()
        first = list(batches.epoch(0))
        assert states() == before
        torch.manual_seed(4)
        assert same(first, list(batches.epoch(0)))
        batches.close()


def test_without_a_seed_everything_comes_once_in_order(ten_images: Ten) -> None:
    batches = list(image_batches(*ten_images, TEST, batch_size=4).epoch(0))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(10))
    files, examples = ten_images
    assert torch.equal(images_of(batches[2])[1], TEST(files.open(examples[9].item), 0))
    assert batches[2].labels.tolist() == [examples[8].label, examples[9].label]


@pytest.mark.parametrize("transform", [TRAIN, TEST])
def test_decoded_images_are_cached_and_change_nothing(ten_images: Ten, transform: Transform) -> None:
    _, examples = ten_images
    once, always = Counting(), Counting()
    first = image_batches(once, examples, transform, batch_size=5, seed=1)
    second = image_batches(always, examples, transform, batch_size=5, seed=1, cache=PixelCache(0))
    for number in range(3):
        assert same(list(first.epoch(number)), list(second.epoch(number)))
    assert len(once.opened) == 10  # type: ignore[attr-defined]
    assert len(always.opened) == 30  # type: ignore[attr-defined]


def test_bad_images_are_an_error_or_are_skipped(ten_images: Ten, tmp_path: Path) -> None:
    files, examples = ten_images
    (tmp_path / "bad.png").write_text("no image")
    mixed_in = [*examples[:4], Example(tmp_path / "bad.png", 0), *examples[4:], Example(tmp_path / "gone.png", 1)]
    for workers in (0, 1):
        strict = image_batches(files, mixed_in, TEST, batch_size=3, workers=workers)
        with pytest.raises(BadImageError, match=r"bad.png: not an image"):
            list(strict.epoch(0))
        strict.close()
        lenient = image_batches(files, mixed_in, TEST, batch_size=3, workers=workers, on_bad_image="skip")
        with pytest.warns(VlpromptWarning, match=r"^2 of 12 images were skipped; the first: .*bad.png") as caught:
            batches = list(lenient.epoch(0))
        assert sum(issubclass(each.category, VlpromptWarning) for each in caught) == 1
        assert torch.cat([batch.index for batch in batches]).tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]
        assert lenient.images is not None
        assert sorted(lenient.images.bad.reasons) == [4, 11]
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # reported once
            assert len(list(lenient.epoch(1))) == 4
        lenient.close()


def test_a_batch_of_bad_images_only_is_left_out(tmp_path: Path) -> None:
    batches = image_batches(Files(), [Example(tmp_path / "gone", 0)], TEST, batch_size=1, on_bad_image="skip")
    with pytest.warns(VlpromptWarning, match="1 of 1 images"):
        assert list(batches.epoch(0)) == []


class Fatal(Files):
    """Files whose reader is killed, as by a machine without memory."""

    def open(self, item: Item) -> Image.Image:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().open(item)


def test_a_worker_that_dies_is_an_error_with_advice(ten_images: Ten) -> None:
    batches = image_batches(Fatal(), ten_images[1], TEST, batch_size=5, workers=1)
    with pytest.raises(VlpromptError, match=r"a loader process died .*use fewer workers"):
        list(batches.epoch(0))


def test_wrong_options_are_refused(ten_images: Ten) -> None:
    with pytest.raises(UsageError, match="workers must be 0 or more"):
        image_batches(*ten_images, TEST, batch_size=1, workers=-1)
    with pytest.raises(UsageError, match="did you mean 'skip'"):
        image_batches(*ten_images, TEST, batch_size=1, on_bad_image="skp")


LOAD_WITHOUT_END = """
import multiprocessing, signal, sys, time
from vlprompt.data import transforms
from vlprompt.data.batches import image_batches
from vlprompt.data.images import Example, Files

signal.signal(signal.SIGINT, signal.default_int_handler)  # the caller may ignore it, as `nohup` in a script

class Slow(Files):
    def open(self, item):
        time.sleep(0.05)
        return super().open(item)

plain = transforms.test_transform(transforms.Preprocess(16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)))
examples = [Example(path, 0) for path in sys.argv[1:]] * 1000
for number, _ in enumerate(image_batches(Slow(), examples, plain, batch_size=2, seed=0, workers=2).epoch(0)):
    if number == 1:
        print(*[child.pid for child in multiprocessing.active_children()], flush=True)
"""


def test_interrupting_ends_the_workers(ten_images: Ten) -> None:
    """Ctrl-C in a terminal reaches a program and its workers at once."""
    paths = [str(example.item) for example in ten_images[1]]
    command = [sys.executable, "-c", LOAD_WITHOUT_END, *paths]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, start_new_session=True, **pipes) as program:
        assert program.stdout is not None
        workers = [int(pid) for pid in program.stdout.readline().split()]
        assert len(workers) == 2
        os.killpg(program.pid, signal.SIGINT)
        _, errors = program.communicate(timeout=60)
    assert program.returncode == -signal.SIGINT, errors
    assert errors.count("Traceback") == 1, errors  # the parent's only
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(alive(pid) for pid in workers)


def alive(pid: int) -> bool:
    """Whether a process is running (a zombie is not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_task_without_its_unreadable_images(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(10):
            Image.new("RGB", (4, 4)).save(tmp_path / name / f"{number}.png")
    task = Task.from_folder(tmp_path)
    assert readable(task) is task
    damaged = [task.train[0].item, task.test[0].item]
    for path in damaged:
        Path(str(path)).write_bytes(b"")
    with pytest.warns(VlpromptWarning, match="^2 of 20 images cannot be read and are left out; the first: "):
        rest = readable(task)
    assert (rest.train, rest.val, rest.test) == (task.train[1:], task.val, task.test[1:])
    for example in task.train + task.val + task.test:
        Path(str(example.item)).unlink()
    with pytest.raises(VlpromptError, match="no image can be read"):
        readable(task)
