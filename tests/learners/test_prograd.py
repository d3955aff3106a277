"""ProGrad: its gradient rule written out, and the authors' start."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vlprompt.backbones.clip import Clip
from vlprompt.data.batch import Batch
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.learners import prograd
from vlprompt.learners.prograd import ProGrad, ProGradConfig, without_conflict, words_first


@pytest.mark.parametrize("conflict", [False, True])
@pytest.mark.parametrize("strength", [1.0, 0.8])
def test_the_gradient_written_out(
    small: Clip,
    names: tuple[str, ...],
    batch: Batch,
    stir: Callable[[nn.Module], None],
    conflict: bool,
    strength: float,
) -> None:
    learner = ProGrad(small, names, ProGradConfig(strength=strength, temperature=2.0))
    stir(learner)
    frozen = small.encode_texts([f"a photo of a {name.replace('_', ' ')}." for name in names])
    teacher = (small.scores(batch.features, frozen) / 2).softmax(dim=-1)
    context = learner.context.detach().clone().requires_grad_()
    scores = small.scores(batch.features, small.encode_text(learner.layout.fill(context[None])))
    divergence = (teacher * (teacher.log() - (scores / 2).log_softmax(dim=-1))).sum(dim=-1).mean() * 2**2
    (g_general,) = torch.autograd.grad(divergence, context, retain_graph=True)
    for shift in range(5):  # labels under which the gradients agree, or do not
        labels = (batch.labels + shift) % 5
        own = F.cross_entropy(scores, labels)
        (g_own,) = torch.autograd.grad(own, context, retain_graph=True)
        dot = (g_own * g_general).sum()
        if bool(dot < 0) == conflict:
            break
    else:
        pytest.fail("no labels make this case")
    loss = learner.backward(replace(batch, labels=labels))
    wanted = g_own - strength * dot / g_general.square().sum() * g_general if conflict else g_own
    assert torch.allclose(learner.context.grad, wanted, rtol=1e-8, atol=1e-12)
    assert torch.allclose(loss, own)


def test_the_projected_gradient_does_not_conflict() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        own, general = torch.randn(2, 4, 8, generator=generator, dtype=torch.float64)
        left = without_conflict(own, general, 1.0)
        assert (left * general).sum() > -1e-12
        if (own * general).sum() >= 0:
            assert torch.equal(left, own)
    assert torch.equal(without_conflict(own, torch.zeros_like(own), 1.0), own), "no general gradient, no change"


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("a photo of a {}.", "a photo of a {}."),
        ("a photo of a {}, a type of pet.", "a type of pet, a photo of a {}."),
        ("a photo of {}, a type of food.", "a type of food, a photo of {}."),
        ("{} texture.", "a texture of {}."),
        ("a centered satellite photo of {}.", "a centered satellite photo of {}."),
    ],
)
def test_templates_become_the_authors(template: str, wanted: str) -> None:
    assert words_first(template) == wanted


def test_the_context_starts_with_zeros_before_the_template(small: Clip, names: tuple[str, ...]) -> None:
    task = Task("pets", names, templates=("a photo of a {}, a type of pet.",))
    learner = ProGrad.for_task(small, task, ProGradConfig())
    pieces = small.tokenizer.pieces("a type of pet, a photo of a")
    assert len(pieces) == 9, "a comma is a token"
    assert learner.context.shape == (16, 24)
    assert not learner.context[:7].any()
    assert torch.equal(learner.context[7:], small.embed_tokens(torch.tensor(pieces)))
    short = ProGrad.for_task(small, task, ProGradConfig(n_ctx=9))
    wanted = small.encode_texts([f"a type of pet, a photo of a {name.replace('_', ' ')}." for name in names])
    assert torch.allclose(short.text()[0], wanted)
    with pytest.raises(UsageError, match="needs 9 tokens"):
        ProGrad.for_task(small, task, ProGradConfig(n_ctx=8))


def test_settings() -> None:
    epochs = [prograd.recipe(shots).epochs for shots in (1, 2, 4, 8, 16)]
    assert epochs == [50, 100, 100, 200, 200]
    assert prograd.recipe(16, "imagenet").epochs == 50
    with pytest.raises(UsageError, match=r"temperature is 0.0; it must be a number, above 0"):
        ProGradConfig(temperature=0)
