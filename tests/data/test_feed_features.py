"""Images with the frozen model's features: stored where the view is fixed, computed from the images where it is not."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import vlprompt as vp
from vlprompt.data import feed
from vlprompt.data.features import FeatureStore
from vlprompt.data.needs import Input, Needs
from vlprompt.errors import UsageError

IMAGES, BOTH = Needs(Input.IMAGES), Needs(Input.IMAGES, features_too=True)


@pytest.fixture(scope="module")
def task() -> vp.Task:
    digits = vp.load_task("digits").few_shot(2, seed=1)
    return replace(digits, test=digits.test[:30])


@pytest.fixture
def clip() -> vp.Clip:
    return vp.load_clip("tiny")


@pytest.mark.parametrize("augment", ["none", "paper"])
def test_features_are_those_of_the_images_beside_them(
    clip: vp.Clip, task: vp.Task, tmp_path: Path, augment: str
) -> None:
    config = vp.TrainConfig(augment=augment, batch_size=7)
    batches = feed.train_batches(BOTH, clip, task, config, FeatureStore(tmp_path))
    assert (batches.size, len(batches)) == (20, 2)
    for batch in batches.epoch(1):
        assert batch.images is not None
        assert batch.features is not None
        assert torch.allclose(batch.features, clip.encode_image(batch.images), atol=1e-4)


def test_stored_features_are_not_computed_again(
    clip: vp.Clip, task: vp.Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore(tmp_path)
    (first,) = feed.test_batches(BOTH, clip, task, task.test, store).epoch(0)
    assert feed.plain_features(clip, task.images, task.test, store).equal(first.features)  # type: ignore[arg-type]
    monkeypatch.setattr(type(clip), "encode_image", None)
    (again,) = feed.test_batches(BOTH, clip, task, task.test, store).epoch(0)
    assert again.features is not None
    assert again.features.equal(first.features)  # type: ignore[arg-type]
    list(feed.test_batches(IMAGES, clip, task, task.test, store).epoch(0))


def test_without_the_need_there_are_images_only(clip: vp.Clip, task: vp.Task, tmp_path: Path) -> None:
    for augment in ("none", "paper"):
        batches = feed.train_batches(IMAGES, clip, task, vp.TrainConfig(augment=augment), FeatureStore(tmp_path))
        assert next(iter(batches.epoch(0))).features is None


def test_views_of_images_cannot_be_cached(clip: vp.Clip, task: vp.Task, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="learns in the image tower, so views cannot be cached"):
        feed.train_batches(IMAGES, clip, task, vp.TrainConfig(augment="cached:2"), FeatureStore(tmp_path))
