"""Prompts tuned per image: independence of the batch, the cached start, wrapped learners and saved prompts."""

import pytest
import torch
from torch import Tensor

import vlprompt as vp
from tests.prompts.tuning import FAST, OVER, batch_of_views, build
from vlprompt.backbones.clip import Clip
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError, VlpromptError
from vlprompt.learner import PromptLearner
from vlprompt.learners import CTPT, TPT, CoCoOp, CoOp, CoOpConfig, LinearProbe, ZeroShot
from vlprompt.prompts import tuned_per_image as tuned
from vlprompt.prompts.context_tuning import EncodedContext
from vlprompt.randomness import normal


def some(batch: Batch, rows: list[int]) -> Batch:
    assert batch.views is not None
    return Batch(batch.labels[rows], batch.index[rows], views=batch.views[rows])


@pytest.mark.parametrize(("over", "steps"), [*((over, 1) for over in OVER), ("words", 2), ("cocoop", 2)])
def test_an_image_is_tuned_equally_in_any_batch_and_order(
    over: str, steps: int, single: Clip, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In single precision, where signs could flip: contexts are equal bit for bit, classes and scores are the same."""
    learner = build(TPT, over, single, names, steps)
    batch = batch_of_views(16, FAST.views, single.embed_dim, torch.float32)
    contexts: list[Tensor] = []
    tune = learner.tune
    monkeypatch.setattr(learner, "tune", lambda views: contexts.append(tune(views)) or contexts[-1])
    scores = learner.predict(batch)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    for size in (1, 7, 16):
        for rows in order.split(size):
            alone = learner.predict(some(batch, rows.tolist()))
            assert torch.equal(contexts[-1], contexts[0][rows])
            assert torch.equal(alone.argmax(dim=1), scores[rows].argmax(dim=1))
            assert torch.allclose(alone, scores[rows], rtol=0, atol=1e-4)


def test_few_images_at_once_change_nothing(
    small: Clip, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = TPT(small, names, FAST)
    batch = batch_of_views(7, FAST.views, small.embed_dim)
    wanted, before = learner.predict(batch), learner(batch)
    seen: list[int] = []
    tune = learner.tune
    monkeypatch.setattr(tuned, "TEXTS_AT_ONCE", 3 * len(names) + 1)
    monkeypatch.setattr(learner, "tune", lambda views: seen.append(len(views)) or tune(views))
    assert torch.allclose(learner.predict(batch), wanted, atol=1e-10)
    assert torch.allclose(learner(batch), before, atol=1e-10)
    assert seen == [3, 3, 1]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The contexts that text features were made for, with a graph."""
    contexts: list[Tensor] = []

    class Counted(EncodedContext):
        def __init__(self, clip: Clip, layout: object, context: Tensor) -> None:
            contexts.append(context)
            super().__init__(clip, layout, context)  # type: ignore[arg-type]

    monkeypatch.setattr(tuned, "EncodedContext", Counted)
    return contexts


def test_the_start_is_encoded_once_until_prompt_or_classes_change(
    small: Clip, names: tuple[str, ...], made: list[Tensor]
) -> None:
    coop = CoOp(small, names, CoOpConfig(n_ctx=2))
    learner = TPT.over(coop, FAST)
    batch = batch_of_views(3, FAST.views, small.embed_dim)
    first = learner.predict(batch)
    learner(batch)
    assert torch.equal(learner.predict(batch), first), "an image changed the learner"
    assert len(made) == 1
    with torch.no_grad():
        coop.context.add_(normal(2, small.text_width, seed=9))
    moved = learner.predict(batch)
    assert len(made) == 2
    assert (moved - first).abs().max() > 1e-4
    learner.set_classes(names[:3])
    assert learner.predict(batch).shape == (3, 3)
    assert coop.classes == names[:3]
    assert len(made) == 3
    fresh = TPT.over(coop, FAST)
    assert torch.allclose(fresh.predict(batch), learner.predict(batch))
    assert len(made) == 4


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_wrapped_prompt_survives_saving(precision: str, tmp_path: pytest.TempPathFactory) -> None:
    clip = vp.load_clip("tiny", precision=precision)
    names = ["zero", "one", "circle", "star"]
    batch = batch_of_views(4, FAST.views, clip.embed_dim, torch.float32)
    cocoop = CoCoOp(clip, names, seed=3)
    with torch.no_grad():
        cocoop.context.add_(normal(*cocoop.context.shape, seed=1))
    for number, learner in enumerate(
        (TPT.over(cocoop, FAST), CTPT.over(CoOp(clip, names, seed=2)), TPT(clip, names, FAST))
    ):
        folder = tmp_path / str(number)
        learner.save(folder)
        again = vp.load(folder, clip)
        assert type(again) is type(learner)
        assert again.config == learner.config
        assert torch.equal(again.predict(batch), learner.predict(batch))
        assert vp.load(folder, clip, ["star", "one"]).predict(batch).shape == (4, 2)
    assert (tmp_path / "2" / "prompt.safetensors").stat().st_size < 2000, "words need no tensors"


def test_learners_without_a_context_are_refused_in_one_line(small: Clip, names: tuple[str, ...]) -> None:
    others: tuple[PromptLearner, ...] = (ZeroShot(small, names), LinearProbe(small, names), TPT(small, names))
    for learner in others:
        with pytest.raises(UsageError, match=f"^tpt tunes a context of words, and {learner.method()} offers none"):
            TPT.over(learner)


def test_the_classes_of_class_specific_contexts_are_fixed(small: Clip, names: tuple[str, ...]) -> None:
    learner = TPT.over(CoOp(small, names, CoOpConfig(n_ctx=2, class_specific=True)))
    with pytest.raises(UsageError, match="tpt cannot change its classes: its context is class-specific"):
        learner.set_classes(["cat"])


def test_a_batch_without_views_is_refused(small: Clip, names: tuple[str, ...], batch: Batch) -> None:
    with pytest.raises(VlpromptError, match="views"):
        TPT(small, names).predict(batch)
