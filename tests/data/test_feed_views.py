"""Views of test images: each is encoded once, for all learners that read the same ones."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

import vlprompt as vp
from vlprompt.data import feed
from vlprompt.data.batch import views_of
from vlprompt.data.features import FeatureStore
from vlprompt.data.needs import Input, Needs
from vlprompt.data.views import Views
from vlprompt.errors import UsageError
from vlprompt.learners import MTA, TDA, MTAConfig, TDAConfig, Zero, ZeroConfig, ZeroShot


class Counting:
    """Counts the images that a CLIP encodes, and the largest number of them at once."""

    def __init__(self, clip: vp.Clip, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images, self.largest = 0, 0
        encode = clip.encode_image

        def counted(images: Tensor) -> Tensor:
            self.images += len(images)
            self.largest = max(self.largest, len(images))
            return encode(images)

        monkeypatch.setattr(clip, "encode_image", counted)


@pytest.fixture
def clip() -> vp.Clip:
    return vp.load_clip("tiny")


@pytest.fixture
def task() -> vp.Task:
    digits = vp.load_task("digits")
    return replace(digits, test=digits.test[::60])


def reading(count: int, seed: int = 0) -> Needs:
    return Needs(Input.VIEWS, views=Views(count, seed=seed))


def views(needs: Needs, clip: vp.Clip, task: vp.Task, store: FeatureStore) -> Tensor:
    return torch.cat([views_of(batch) for batch in feed.test_batches(needs, clip, task, task.test, store).epoch(0)])


def test_learners_that_read_the_same_views_share_them(
    clip: vp.Clip, task: vp.Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, store = Counting(clip, monkeypatch), FeatureStore(tmp_path)
    first = views(MTA(clip, task.classes, MTAConfig(views=6)).needs, clip, task, store)
    assert first.shape == (len(task.test), 6, clip.embed_dim)
    assert count.images == 6 * len(task.test) + -len(task.test) % 10 * 6, "each view once, and a full last batch"
    before = count.images
    for learner in (Zero(clip, task.classes, ZeroConfig(views=6)), TDA(clip, task.classes, TDAConfig(views=6))):
        assert torch.equal(views(learner.needs, clip, task, store), first)
    assert count.images == before
    other = Zero(clip, task.classes, ZeroConfig(views=6), seed=1)
    assert not torch.equal(views(other.needs, clip, task, store), first)
    assert count.images > before


def test_the_number_of_views_encoded_at_once_is_limited(
    clip: vp.Clip, task: vp.Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = Counting(clip, monkeypatch)
    few = replace(task, test=task.test[:3])
    batches = feed.test_batches(reading(150), clip, few, few.test, FeatureStore(tmp_path))
    assert [len(batch) for batch in batches.epoch(0)] == [3]
    assert count.largest == 64
    items = [few.images.open(example.item) for example in few.test]
    (batch,) = feed.item_batches(reading(150), clip, items, batch_size=3).epoch(0)
    assert views_of(batch).shape == (3, 150, clip.embed_dim)
    assert count.largest == 64
    assert feed.test_batches(reading(3200), clip, few, few.test, FeatureStore(tmp_path)).batch_size == 2


def test_the_plain_view_has_the_features_of_the_image(clip: vp.Clip, task: vp.Task, tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    (batch,) = feed.test_batches(Needs(), clip, task, task.test, store).epoch(0)
    learner = TDA(clip, task.classes)
    assert torch.allclose(views(learner.needs, clip, task, store)[:, 0], batch.features, atol=1e-5)
    before = vp.evaluate(learner, task, store=store, test_time=False).scores
    assert torch.allclose(before, vp.evaluate(ZeroShot(clip, task.classes), task, store=store).scores, atol=1e-4)


def test_bfloat16_views(task: vp.Task, tmp_path: Path) -> None:
    half, full = vp.load_clip("tiny", precision="bf16"), vp.load_clip("tiny")
    a, b = (views(reading(4), clip, task, FeatureStore(tmp_path)) for clip in (half, full))
    assert a.dtype == torch.float32
    assert torch.equal(a, a.bfloat16().float()), "the tower computes in bfloat16"
    assert 0.99 < torch.nn.functional.cosine_similarity(a, b, dim=-1).mean() < 1


def test_too_many_views_are_refused_before_an_image_is_read(
    clip: vp.Clip, task: vp.Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = Counting(clip, monkeypatch)
    monkeypatch.setattr("vlprompt.data.views.psutil.virtual_memory", lambda: SimpleNamespace(total=2.0**20))
    with pytest.raises(UsageError, match=r"64 views of 32 pixels .* views at most"):
        feed.test_batches(reading(64), clip, task, task.test, FeatureStore(tmp_path))
    with pytest.raises(UsageError, match="64 views of 32 pixels"):
        feed.item_batches(reading(64), clip, [task.images.open(task.test[0].item)], batch_size=1)
    assert count.images == 0
