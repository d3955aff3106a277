"""Identity of data: contents count, names and places do not; leaks are reported once."""

import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import vlprompt as vp
from vlprompt.data.features import FeatureStore
from vlprompt.data.identity import Contents, joint_hash
from vlprompt.errors import VlpromptWarning


def write(root: Path, shift: int = 0) -> vp.Task:
    for label, name in enumerate(("day", "night")):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(6):
            colour = (100 * label + number + shift, 0, 0)
            Image.new("RGB", (8, 8), colour).save(root / name / f"{number}.bmp")
    return vp.Task.from_folder(root)


@pytest.fixture
def contents(tmp_path: Path) -> Contents:
    return Contents(FeatureStore(tmp_path / "store"))


def test_the_hash_is_that_of_the_contents(tmp_path: Path, contents: Contents) -> None:
    task, other = write(tmp_path / "a"), write(tmp_path / "b", shift=7)
    moved = vp.Task.from_folder(shutil.copytree(tmp_path / "a", tmp_path / "c"))
    assert contents.split_hash(task) == contents.split_hash(moved)
    assert contents.data_hash(task) == contents.data_hash(moved)
    assert contents.split_hash(task) != contents.split_hash(other)
    assert contents.data_hash(task) != contents.data_hash(other)
    assert contents.split_hash(replace(task, classes=("day", "evening"))) != contents.split_hash(task)


def test_draws_differ_and_their_data_set_is_the_same(tmp_path: Path, contents: Contents) -> None:
    task = write(tmp_path / "a")
    draws = [task.few_shot(1, seed) for seed in (1, 2, 3)]
    assert len({contents.split_hash(draw) for draw in draws}) > 1
    assert {contents.data_hash(each) for each in [*draws, task.whole(), *task.base_and_new()]} == {
        contents.data_hash(task)
    }


def test_an_image_changed_in_place_is_noticed_by_the_next_process(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "store")
    task = write(tmp_path / "a")
    before = Contents(store).split_hash(task)
    assert Contents(store).split_hash(write(tmp_path / "a")) == before
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "a" / "day" / "0.bmp")
    assert Contents(store).split_hash(vp.Task.from_folder(tmp_path / "a")) != before


def test_texts_count_by_their_words(contents: Contents) -> None:
    rows = [{"text": f"row {number}", "label": number % 2} for number in range(12)]
    task, same = (vp.Task.from_text_dataset(rows, template="{text} {mask}", classes=["a", "b"]) for _ in range(2))
    assert contents.split_hash(task) == contents.split_hash(same)
    rows[3]["text"] = "another"
    changed = vp.Task.from_text_dataset(rows, template="{text} {mask}", classes=["a", "b"])
    assert contents.split_hash(changed) != contents.split_hash(task)


def test_several_tasks_have_one_hash() -> None:
    assert joint_hash(["a", "a"]) == "a"
    assert len({joint_hash(["a", "b"]), joint_hash(["b", "a"]), "a"}) == 3


def test_an_image_that_cannot_be_read_has_its_name_for_an_identity(tmp_path: Path, contents: Contents) -> None:
    task = write(tmp_path / "a")
    missing = replace(task.test[0], item=tmp_path / "a" / "day" / "none.bmp")
    assert contents.of(task.images, [missing]) == ["unreadable day/none.bmp"]


def test_leaks_are_found_by_content_and_reported_once(tmp_path: Path, contents: Contents) -> None:
    write(tmp_path / "photos")
    shutil.copytree(tmp_path / "photos", tmp_path / "split" / "train")
    for file in sorted((tmp_path / "photos").rglob("*.bmp")):
        place = tmp_path / "split" / "test" / file.parent.name
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place / f"copy-of-{file.name}")
    task = vp.Task.from_folder(tmp_path / "split")
    with pytest.warns(VlpromptWarning, match="split: 12 of 12 test images have the same content as training images"):
        contents.warn_of_leaks(task, task)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        contents.warn_of_leaks(task, task)
        contents.warn_of_leaks(replace(task, dataset="digits"), task)
        clean = write(tmp_path / "clean")
        contents.warn_of_leaks(clean, clean)
