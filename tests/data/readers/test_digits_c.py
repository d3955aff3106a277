"""Corrupted digits: the same every time, worse with severity; the training images are clean."""

import numpy as np
import pytest

from vlprompt.data.catalog import describe, load_task, open_task
from vlprompt.data.readers.digits_c import CORRUPTIONS
from vlprompt.data.task import Task
from vlprompt.errors import UsageError


def pixels(task: Task, split: str = "test", step: int = 30) -> np.ndarray:
    return np.stack([np.asarray(task.images.open(e.item), np.float64) for e in getattr(task, split)[::step]])


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_corruption_is_repeatable_and_grows_with_severity(corruption: str) -> None:
    clean = load_task("digits")
    levels = [load_task(f"digits-c/{corruption}-{severity}") for severity in range(1, 6)]
    away = [float(np.abs(pixels(task) - pixels(clean)).mean()) for task in levels]
    assert away == sorted(away)
    assert 0 < away[0] < 0.6 * away[-1]
    assert np.array_equal(pixels(load_task(f"digits-c/{corruption}")), pixels(levels[2]))
    assert levels[0].name == f"digits-c/{corruption}-1"


def test_only_the_test_images_are_corrupted_and_the_split_is_that_of_digits() -> None:
    clean, task = load_task("digits"), load_task("digits-c/noise-5")
    for split in ("train", "val"):
        assert np.array_equal(pixels(task, split), pixels(clean, split))
    assert [e.label for e in task.test] == [e.label for e in clean.test]
    assert all((task.images.open(e.item).mode, task.images.open(e.item).size) == ("RGB", (8, 8)) for e in task.test[:9])
    changed = (pixels(task, step=1) != pixels(clean, step=1)).any(axis=(1, 2, 3))
    assert changed.all()


def test_mixed_uses_the_four_in_turn() -> None:
    mixed = open_task("digits-c")
    alone = [load_task(f"digits-c/{corruption}") for corruption in CORRUPTIONS]
    for example in mixed.test[::40]:
        turn = alone[int(str(example.item)) % 4]
        assert mixed.images.digest(example.item) == turn.images.digest(example.item)


def test_noise_differs_from_image_to_image() -> None:
    clean, noisy = load_task("digits"), load_task("digits-c/noise-1")
    apart = pixels(noisy)[..., 0] - pixels(clean)[..., 0]
    assert abs(np.corrcoef(apart.reshape(len(apart), -1)) - np.eye(len(apart))).max() < 0.9


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("digits-c/nois", "did you mean 'noise'"),
        ("digits-c/noise-6", "severity '6' of digits-c/noise"),
        ("digits-c/noise-x", "severity 'x' of digits-c/noise"),
        ("digits/noise", "digits has no parts"),
        ("digit-c", "did you mean 'digits-c'"),
    ],
)
def test_unknown_names_are_refused(name: str, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        load_task(name)


def test_a_folder_may_have_the_name_of_a_data_set(tmp_path, monkeypatch, draw_image) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "dog"):
        for number in range(4):
            draw_image(tmp_path / "digits" / "mine" / name / f"{number}.png", seed=number)
    assert open_task("digits/mine").classes == ("cat", "dog")
    assert describe("digits-c/blur").part == "blur"
