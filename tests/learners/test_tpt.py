"""TPT against a slow restatement in float64, one image at a time through everything, and what it promises."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import vlprompt as vp
from vlprompt.backbones.clip import Clip
from vlprompt.backbones.prompts import TextPrompt
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError, VlpromptError
from vlprompt.init import normal
from vlprompt.learners import CTPT, TPT, CoCoOp, CoOp, CoOpConfig, CTPTConfig, LinearProbe, TPTConfig, ZeroShot, tuned
from vlprompt.learners.base import PromptLearner
from vlprompt.learners.tuned import Tuned
from vlprompt.tuning import EncodedContext

FAST = TPTConfig(views=20, confident=0.25, lr=0.02)


def batch_of_views(count: int, views: int, width: int, dtype: torch.dtype = torch.float64, seed: int = 5) -> Batch:
    """Views that lie around their image, the plain one first."""
    plain = normal(count, 1, width, seed=seed, std=1.0)
    spread = normal(count, views, width, seed=seed + 1, std=0.7)
    spread[:, 0] = 0
    index = torch.arange(count)
    return Batch(torch.full_like(index, -1), index, views=(plain + spread).to(dtype))


def some(batch: Batch, rows: list[int]) -> Batch:
    assert batch.views is not None
    return Batch(batch.labels[rows], batch.index[rows], views=batch.views[rows])


def slow(learner: Tuned, views: Tensor, fill: Callable[[Tensor], TextPrompt], start: Tensor) -> tuple[Tensor, Tensor]:
    """One image by the paper's equations: its context (n, D) and scores (C,); AdamW written out."""
    clip, config = learner.backbone, learner.config
    unit = views / views.norm(dim=-1, keepdim=True)
    context, m, v, keep = start.clone(), torch.zeros_like(start), torch.zeros_like(start), None

    def text_of(context: Tensor) -> Tensor:
        text = clip.encode_text(fill(context))[0]
        return text / text.norm(dim=-1, keepdim=True)

    for step in range(1, config.steps + 1):
        leaf = context.detach().requires_grad_()
        text = text_of(leaf)
        p = (clip.logit_scale * unit @ text.T).softmax(dim=1)
        if keep is None:
            entropy = -(p * p.log()).sum(dim=1)
            keep = entropy.argsort()[: max(1, int(len(views) * config.confident))]
        mean = p[keep].mean(dim=0)
        loss = -(mean * mean.log()).sum()
        if isinstance(learner, CTPT):
            loss = loss - learner.config.strength * ((text - text.mean(0)) ** 2).sum(1).sqrt().mean()
        (g,) = torch.autograd.grad(loss, leaf)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        moved = (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
        context = context * (1 - config.lr * config.weight_decay) - config.lr * moved
    return context, (clip.logit_scale * unit[:1] @ text_of(context).T)[0]


def build(kind: type[Tuned], over: str, clip: Clip, names: tuple[str, ...], steps: int) -> Tuned:
    config = CTPTConfig(**vars(FAST), strength=3.0) if kind is CTPT else FAST
    config = replace(config, steps=steps)
    if over == "words":
        return kind(clip, names, config)
    if over == "middle words":
        return kind(clip, names, replace(config, words="the [CLASS] in a photo"))
    if over == "cocoop":
        return kind.over(CoCoOp(clip, names), config)
    specific = over == "class-specific"
    position = "end" if specific else over
    return kind.over(CoOp(clip, names, CoOpConfig(n_ctx=4, position=position, class_specific=specific)), config)


OVER = ("words", "middle words", "end", "front", "middle", "class-specific", "cocoop")


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("kind", [TPT, CTPT])
def test_it_is_the_papers_equations_image_by_image(
    kind: type[Tuned], over: str, steps: int, small: Clip, names: tuple[str, ...], stir: Callable[..., None]
) -> None:
    learner = build(kind, over, small, names, steps)
    stir(learner)
    batch = batch_of_views(5, FAST.views, small.embed_dim)
    assert batch.views is not None
    found, contexts, before = learner.predict(batch), learner.tune(batch.views), learner(batch)
    for i, views in enumerate(batch.views):
        start = learner.inner.starts(views[:1]).detach()
        context, scores = slow(learner, views, learner.inner.layout.fill, start)
        assert torch.allclose(contexts[i], context[0], rtol=0, atol=1e-9)
        assert torch.allclose(found[i], scores, rtol=0, atol=1e-6)
        text = small.encode_text(learner.inner.layout.fill(start))
        assert torch.allclose(before[i], small.scores(views[:1], text)[0], rtol=0, atol=1e-9)
    assert (found - before).abs().max() > 1e-3, "nothing was tuned"


@pytest.mark.parametrize(("over", "steps"), [*((over, 1) for over in OVER), ("words", 2), ("cocoop", 2)])
def test_an_image_is_tuned_alike_in_any_batch_and_order(
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
    monkeypatch.setattr(tuned, "MOST_TEXTS", 3 * len(names) + 1)
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
    assert torch.equal(learner.predict(batch), first), "something was remembered of the images"
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


def test_over_cocoop_the_quirk_shows_the_network_features_of_any_length(small: Clip, names: tuple[str, ...]) -> None:
    batch = batch_of_views(3, FAST.views, small.embed_dim)
    longer = Batch(batch.labels, batch.index, views=batch.views * 3)
    cocoop = CoCoOp(small, names).double()
    right, quirk = TPT.over(cocoop, FAST), TPT.over(cocoop, replace(FAST, reference_quirks=True))
    assert torch.allclose(right.predict(batch), right.predict(longer))
    assert (quirk(batch) - quirk(longer)).abs().max() > 1e-6


def test_dispersion_pulls_the_classes_apart(small: Clip, names: tuple[str, ...]) -> None:
    batch = batch_of_views(4, FAST.views, small.embed_dim)
    assert batch.views is not None
    spread = {}
    for strength in (0.0, 50.0):
        learner = CTPT(small, names, CTPTConfig(**vars(FAST), strength=strength))
        text = small.encode_text(learner.inner.layout.fill(learner.tune(batch.views)))
        unit = torch.nn.functional.normalize(text, dim=-1)
        spread[strength] = (unit - unit.mean(dim=1, keepdim=True)).norm(dim=-1).mean()
    assert spread[50.0] > spread[0.0] * 1.001
    assert torch.equal(
        CTPT(small, names, CTPTConfig(**vars(FAST), strength=0)).predict(batch), TPT(small, names, FAST).predict(batch)
    )


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


def test_what_has_no_context_is_refused_in_one_line(small: Clip, names: tuple[str, ...]) -> None:
    others: tuple[PromptLearner, ...] = (ZeroShot(small, names), LinearProbe(small, names), TPT(small, names))
    for learner in others:
        with pytest.raises(UsageError, match=f"^tpt tunes a context of words, and {learner.method()} offers none"):
            TPT.over(learner)
    with pytest.raises(UsageError, match="coop cannot adapt tpt"):
        CoOp.over(others[2], None)


def test_class_specific_contexts_keep_their_classes(small: Clip, names: tuple[str, ...]) -> None:
    learner = TPT.over(CoOp(small, names, CoOpConfig(n_ctx=2, class_specific=True)))
    with pytest.raises(UsageError, match="tpt cannot change its classes: its context is class-specific"):
        learner.set_classes(["cat"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"views": 1}, "views is 1"),
        ({"confident": 0.0}, "confident is 0.0"),
        ({"confident": 1.5}, "confident is 1.5"),
        ({"steps": 0}, "steps 0"),
        ({"lr": -1.0}, "lr -1.0"),
    ],
)
def test_settings_that_cannot_work(given: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        TPTConfig(**given)
    with pytest.raises(UsageError, match="strength"):
        CTPTConfig(strength=-1)


def test_a_batch_without_views_says_so(small: Clip, names: tuple[str, ...], batch: Batch) -> None:
    with pytest.raises(VlpromptError, match="views"):
        TPT(small, names).predict(batch)
