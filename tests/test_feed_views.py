"""Views as learners are fed them: every view encoded once, for all that want the same ones."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import vlprompt as vp
from vlprompt import feed
from vlprompt.data.features import FeatureStore
from vlprompt.errors import UsageError
from vlprompt.learners import MTA, TDA, MTAConfig, TDAConfig, Zero, ZeroConfig, ZeroShot
from vlprompt.learners.base import Reads, views_of


class Counting:
    """A CLIP that counts the images it is shown."""

    def __init__(self, clip: vp.Clip, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shown, self.most = 0, 0
        encode = clip.encode_image

        def counted(images: Tensor) -> Tensor:
            self.shown += len(images)
            self.most = max(self.most, len(images))
            return encode(images)

        monkeypatch.setattr(clip, "encode_image", counted)


@pytest.fixture
def clip() -> vp.Clip:
    return vp.load_clip("tiny")


@pytest.fixture
def task() -> vp.Task:
    digits = vp.load_task("digits")
    return replace(digits, test=digits.test[::60])


def views(learner: vp.learners.PromptLearner, task: vp.Task, store: FeatureStore) -> Tensor:
    return torch.cat([views_of(batch) for batch in feed.judging(learner, task, task.test, store).epoch(0)])


def test_learners_that_want_the_same_views_share_them(
    clip: vp.Clip, task: vp.Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, store = Counting(clip, monkeypatch), FeatureStore(tmp_path)
    first = views(MTA(clip, task.classes, MTAConfig(views=6)), task, store)
    assert first.shape == (len(task.test), 6, clip.embed_dim)
    assert count.shown == 6 * len(task.test) + -len(task.test) % 10 * 6, "each view once, and what fills up the last"
    before = count.shown
    assert torch.equal(views(Zero(clip, task.classes, ZeroConfig(views=6)), task, store), first)
    assert torch.equal(views(TDA(clip, task.classes, TDAConfig(views=6)), task, store), first)
    assert count.shown == before
    assert not torch.equal(views(Zero(clip, task.classes, ZeroConfig(views=6), seed=1), task, store), first)
    assert count.shown > before


def test_few_views_are_encoded_at_once_however_many_there_are(
    clip: vp.Clip, task: vp.Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = Counting(clip, monkeypatch)
    few = replace(task, test=task.test[:3])
    learner = MTA(clip, task.classes, MTAConfig(views=150))
    batches = feed.judging(learner, few, few.test, FeatureStore(tmp_path))
    assert [len(batch) for batch in batches.epoch(0)] == [3]
    assert count.most == 64
    many = feed.judging(MTA(clip, task.classes, MTAConfig(views=3200)), few, few.test, FeatureStore(tmp_path))
    assert many.batch_size == 2


def test_the_plain_view_is_the_image_that_features_are_of(clip: vp.Clip, task: vp.Task, tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    learner, zero_shot = TDA(clip, task.classes), ZeroShot(clip, task.classes)
    (batch,) = feed.judging(zero_shot, task, task.test, store).epoch(0)
    assert torch.allclose(views(learner, task, store)[:, 0], batch.features, atol=1e-5)
    before = vp.evaluate(learner, task, store=store, adapt=False).scores
    assert torch.allclose(before, vp.evaluate(zero_shot, task, store=store).scores, atol=1e-4)


def test_bfloat16_views(task: vp.Task, tmp_path: Path) -> None:
    half, full = vp.load_clip("tiny", precision="bf16"), vp.load_clip("tiny")
    a, b = (views(MTA(c, task.classes, MTAConfig(views=4)), task, FeatureStore(tmp_path)) for c in (half, full))
    assert a.dtype == torch.float32
    assert torch.equal(a, a.bfloat16().float()), "the tower computed in bfloat16"
    assert 0.99 < torch.nn.functional.cosine_similarity(a, b, dim=-1).mean() < 1


def test_too_many_views_are_refused_before_an_image_is_read(
    clip: vp.Clip, task: vp.Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = Counting(clip, monkeypatch)
    monkeypatch.setattr("vlprompt.data.views._machine_memory", lambda: 2.0**20)
    learner = MTA(clip, task.classes)
    with pytest.raises(UsageError, match=r"64 views of 32 pixels .* views at most"):
        feed.judging(learner, task, task.test, FeatureStore(tmp_path))
    with pytest.raises(UsageError, match="64 views of 32 pixels"):
        learner.classify([task.images.open(task.test[0].item)])
    assert count.shown == 0


def test_batches_of_ones_own_images(clip: vp.Clip) -> None:
    images = torch.randn(3, 4, 3, 32, 32)
    learner = MTA(clip, ["a", "b"], MTAConfig(views=4))
    batch = learner.batch_of(images)
    assert learner.reads is Reads.VIEWS
    assert views_of(batch).shape == (3, 4, clip.embed_dim)
    assert batch.labels.tolist() == [-1, -1, -1]
    with torch.no_grad():
        assert torch.allclose(views_of(batch)[1, 2], clip.encode_image(images[1, 2][None])[0], atol=1e-5)
