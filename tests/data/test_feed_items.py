"""Loose items: the same batches as those of a task, for every kind of input."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import vlprompt as vp
from vlprompt.data import feed
from vlprompt.data.batch import Batch
from vlprompt.data.features import FeatureStore
from vlprompt.data.images import BadImageError
from vlprompt.data.needs import Input, Needs
from vlprompt.data.pixel_cache import shared_cache
from vlprompt.data.views import Views
from vlprompt.errors import UsageError

from .conftest import Draw

COUNT = 64  # images that the store encodes at once, so that both compute in batches of one size
IMAGE_NEEDS = {
    "features": Needs(),
    "images": Needs(Input.IMAGES),
    "images and features": Needs(Input.IMAGES, features_too=True),
    "views": Needs(Input.VIEWS, views=Views(6, seed=3)),
    "mixed views": Needs(Input.VIEWS, views=Views(4, augmix=True, seed=2)),
    "plain views": Needs(Input.VIEWS, views=Views(1)),
}


class Lengths:
    """A text encoder whose features are the lengths of the fields."""

    key = "lengths"

    def __call__(self, texts: Sequence[vp.Text]) -> Tensor:
        return torch.tensor([[float(len(text)), sum(map(len, text.values()))] for text in texts])


@pytest.fixture(scope="module")
def clip() -> vp.Clip:
    return vp.load_clip("tiny")


@pytest.fixture
def photos(tmp_path: Path, draw_image: Draw) -> vp.Task:
    """A test split of image files."""
    for number in range(COUNT):
        draw_image(tmp_path / "photos" / "test" / "cat" / f"{number:02}.png", seed=number, size=(40 + number, 33))
    with pytest.warns(vp.errors.VlpromptWarning, match="a single class"):
        return vp.Task.from_folder(tmp_path / "photos")


def differences(first: Batch, second: Batch) -> dict[str, float]:
    """The largest difference of each field; both batches must have the same fields."""
    result = {}
    for name in ("index", "images", "features", "views"):
        a, b = getattr(first, name), getattr(second, name)
        assert (a is None) == (b is None), name
        if a is not None:
            result[name] = float((a - b).abs().max())
    assert first.texts == second.texts
    return result


def batches(needs: Needs, clip: vp.Clip, task: vp.Task, items: Sequence[object], tmp_path: Path) -> list[list[Batch]]:
    """The batches of a task's test split, through the store, and of loose items."""
    stored = feed.test_batches(needs, clip, task, task.test, FeatureStore(tmp_path / "store"), batch_size=COUNT // 2)
    return [list(each.epoch(0)) for each in (stored, feed.item_batches(needs, clip, items, batch_size=COUNT // 2))]


@pytest.mark.parametrize("kind", IMAGE_NEEDS)
def test_paths_give_what_a_task_of_files_gives(clip: vp.Clip, photos: vp.Task, tmp_path: Path, kind: str) -> None:
    paths = [example.item if number % 2 else str(example.item) for number, example in enumerate(photos.test)]
    for stored, loose in zip(*batches(IMAGE_NEEDS[kind], clip, photos, paths, tmp_path), strict=True):
        assert set(differences(stored, loose).values()) == {0}
        assert loose.labels.tolist() == [-1] * (COUNT // 2)


@pytest.mark.parametrize("kind", IMAGE_NEEDS)
def test_pil_images_give_what_a_data_set_in_memory_gives(
    clip: vp.Clip, photos: vp.Task, tmp_path: Path, kind: str
) -> None:
    opened = [photos.images.open(example.item) for example in photos.test]
    task = vp.Task.from_dataset([], test=[(image, 0) for image in opened], classes=["cat"])
    before = len(shared_cache())
    loose = [list(feed.item_batches(IMAGE_NEEDS[kind], clip, opened, batch_size=COUNT // 2).epoch(0))]
    assert len(shared_cache()) == before, "loose images are not cached"
    stored = batches(IMAGE_NEEDS[kind], clip, task, opened, tmp_path)[0]
    for a, b in zip(stored, *loose, strict=True):
        assert set(differences(a, b).values()) == {0}


def test_paths_and_pil_images_may_be_mixed(clip: vp.Clip, photos: vp.Task) -> None:
    items = [photos.images.open(e.item) if n % 2 else e.item for n, e in enumerate(photos.test)]
    (mixed,) = feed.item_batches(Needs(), clip, items, batch_size=COUNT).epoch(0)
    (paths,) = feed.item_batches(Needs(), clip, [e.item for e in photos.test], batch_size=COUNT).epoch(0)
    assert set(differences(mixed, paths).values()) == {0}


@pytest.mark.parametrize("needs", [Needs(Input.TEXTS), Needs(Input.TEXT_FEATURES, text_encoder=Lengths())])
def test_texts_give_what_a_task_of_texts_gives(clip: vp.Clip, tmp_path: Path, needs: Needs) -> None:
    fields = [{"text": f"film {number}" * number, "more": "x"} for number in range(COUNT)]
    rows = tuple(vp.Example(vp.Text.of(**each), 0) for each in fields)
    task = vp.Task("films", ("bad",), ("{text} {mask}",), test=rows, words=(("bad",),))
    for stored, loose in zip(*batches(needs, clip, task, fields, tmp_path), strict=True):
        assert set(differences(stored, loose).values()) == {0}
    (batch,) = feed.item_batches(replace(needs, text_field="claim"), clip, ["a", "b"], batch_size=2).epoch(0)
    if needs.input is Input.TEXTS:
        assert batch.texts == (vp.Text.of(claim="a"), vp.Text.of(claim="b"))
    else:
        assert batch.features.tolist() == [[1, 1], [1, 1]]


def test_nothing_is_stored(clip: vp.Clip, photos: vp.Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLPROMPT_CACHE", str(tmp_path / "cache"))
    list(feed.item_batches(Needs(), clip, [photos.test[0].item], batch_size=1).epoch(0))
    assert not (tmp_path / "cache").exists()


def test_one_image_is_not_encoded_many_times(clip: vp.Clip, photos: vp.Task, monkeypatch: pytest.MonkeyPatch) -> None:
    encode, sizes = clip.encode_image, []
    monkeypatch.setattr(clip, "encode_image", lambda images: sizes.append(len(images)) or encode(images))
    for needs in (Needs(), IMAGE_NEEDS["views"]):
        list(feed.item_batches(needs, clip, [photos.test[0].item], batch_size=32).epoch(0))
    assert sizes == [1, 6]


@pytest.mark.parametrize("needs", [Needs(), Needs(Input.IMAGES), Needs(Input.TEXTS)])
def test_no_items_give_no_batches(clip: vp.Clip, needs: Needs) -> None:
    assert list(feed.item_batches(needs, clip, [], batch_size=4).epoch(0)) == []


def test_wrong_items_are_refused(clip: vp.Clip, tmp_path: Path) -> None:
    with pytest.raises(BadImageError, match=r"gone.png: there is no such file"):
        list(feed.item_batches(Needs(), clip, [tmp_path / "gone.png"], batch_size=1).epoch(0))
    with pytest.raises(UsageError, match=r"item 0 is a tensor of floats, .* give a path, a PIL image"):
        feed.item_batches(Needs(), clip, [torch.zeros(3, 4, 4)], batch_size=1)
    with pytest.raises(UsageError, match=r"item 0 is of type int \(3\); give a string, a mapping"):
        feed.item_batches(Needs(Input.TEXTS), clip, [3], batch_size=1)
