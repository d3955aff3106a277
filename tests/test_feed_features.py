"""Images with the frozen model's features beside them: stored where the view is fixed, of the same view where not."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import vlprompt as vp
from vlprompt import feed
from vlprompt.data.features import FeatureStore
from vlprompt.learners import L2P, VPT, L2PConfig, VPTConfig


@pytest.fixture(scope="module")
def task() -> vp.Task:
    digits = vp.load_task("digits").few_shot(2, seed=1)
    return replace(digits, test=digits.test[:30])


@pytest.fixture
def learner(task: vp.Task) -> L2P:
    return L2P(vp.load_clip("tiny"), task.classes, L2PConfig(length=2))


@pytest.mark.parametrize("augment", ["none", "paper"])
def test_features_are_those_of_the_images_beside_them(
    learner: L2P, task: vp.Task, tmp_path: Path, augment: str
) -> None:
    config = vp.TrainConfig(augment=augment, batch_size=7)
    batches = feed.training(learner, task, config, FeatureStore(tmp_path))
    assert (batches.size, len(batches)) == (20, 2)
    for batch in batches.epoch(1):
        assert batch.images is not None
        assert batch.features is not None
        assert torch.allclose(batch.features, learner.backbone.encode_image(batch.images), atol=1e-4)


def test_what_is_stored_is_not_encoded_again(
    learner: L2P, task: vp.Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore(tmp_path)
    (first,) = feed.judging(learner, task, task.test, store).epoch(0)
    assert feed.plain_features(learner, task, task.test, store).equal(first.features)  # type: ignore[arg-type]
    monkeypatch.setattr(type(learner.backbone), "encode_image", None)
    (again,) = feed.judging(learner, task, task.test, store).epoch(0)
    assert again.features is not None
    assert again.features.equal(first.features)  # type: ignore[arg-type]
    list(feed.judging(VPT(vp.load_clip("tiny"), task.classes, VPTConfig(2)), task, task.test, store).epoch(0))


def test_who_does_not_ask_gets_images_alone(task: vp.Task, tmp_path: Path) -> None:
    learner = VPT(vp.load_clip("tiny"), task.classes, VPTConfig(2))
    for augment in ("none", "paper"):
        batches = feed.training(learner, task, vp.TrainConfig(augment=augment), FeatureStore(tmp_path))
        assert next(iter(batches.epoch(0))).features is None
