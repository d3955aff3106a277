"""TPT and C-TPT against a slow restatement in float64, one image at a time."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.prompts.tuning import FAST, OVER, batch_of_views, build
from vlprompt.backbones.clip import Clip
from vlprompt.backbones.prompt_types import TextPrompt
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.learners import CTPT, TPT, CoCoOp, TPTConfig
from vlprompt.prompts.tuned_per_image import TunedPerImage


def slow(
    learner: TunedPerImage, views: Tensor, fill: Callable[[Tensor], TextPrompt], start: Tensor
) -> tuple[Tensor, Tensor]:
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


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("kind", [TPT, CTPT])
def test_scores_are_the_papers_equations_image_by_image(
    kind: type[TunedPerImage], over: str, steps: int, small: Clip, names: tuple[str, ...], stir: Callable[..., None]
) -> None:
    learner = build(kind, over, small, names, steps)
    stir(learner)
    batch = batch_of_views(5, FAST.views, small.embed_dim)
    assert batch.views is not None
    found, contexts, before = learner.predict(batch), learner.tune(batch.views), learner(batch)
    for i, views in enumerate(batch.views):
        start = learner.inner.initial_contexts(views[:1]).detach()
        context, scores = slow(learner, views, learner.inner.context_layout().fill, start)
        assert torch.allclose(contexts[i], context[0], rtol=0, atol=1e-9)
        assert torch.allclose(found[i], scores, rtol=0, atol=1e-6)
        text = small.encode_text(learner.inner.context_layout().fill(start))
        assert torch.allclose(before[i], small.scores(views[:1], text)[0], rtol=0, atol=1e-9)
    assert (found - before).abs().max() > 1e-3, "nothing was tuned"


def test_over_cocoop_the_quirk_gives_the_network_features_of_any_length(small: Clip, names: tuple[str, ...]) -> None:
    batch = batch_of_views(3, FAST.views, small.embed_dim)
    longer = Batch(batch.labels, batch.index, views=batch.views * 3)
    cocoop = CoCoOp(small, names).double()
    right, quirk = TPT.over(cocoop, FAST), TPT.over(cocoop, replace(FAST, reference_quirks=True))
    assert torch.allclose(right.predict(batch), right.predict(longer))
    assert (quirk(batch) - quirk(longer)).abs().max() > 1e-6


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"views": 1}, "views is 1"),
        ({"confident": 0.0}, "confident is 0.0"),
        ({"confident": 1.5}, "confident is 1.5"),
        ({"steps": 0}, "steps is 0"),
        ({"lr": -1.0}, "lr is -1.0"),
    ],
)
def test_settings_that_cannot_work(given: dict[str, float], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        TPTConfig(**given)
