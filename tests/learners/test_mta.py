"""MTA against its equations, one image at a time in float64, loops left as the published code leaves them."""

import pytest
import torch
from torch import Tensor

from vlprompt.backbones.clip import Clip
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.learners.mta import MTA, MTAConfig


def views(count: int, *, images: int = 4, spread: float = 0.7, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(images, 1, 32, generator=generator, dtype=torch.float64)
    return centre + spread * torch.randn(images, count, 32, generator=generator, dtype=torch.float64)


def batch_of(held: Tensor) -> Batch:
    index = torch.arange(len(held))
    return Batch(torch.full_like(index, -1), index, views=held)


def plain_mode(f: Tensor, p: Tensor, lambda_y: float, lambda_q: float) -> Tensor:
    """Zanella and Ben Ayed, algorithm 1, on unit features f (V, E) and probabilities p (V, C)."""
    n, k = len(f), max(1, int(0.3 * (len(f) - 1)))
    width = []
    for i in range(n):
        others = sorted(float((f[i] - f[j]).pow(2).sum()) for j in range(n) if j != i)[:k]
        width.append((0.5 * sum(others) / k) ** 0.5)
    h, m, y = torch.tensor(width, dtype=f.dtype), f[0], torch.full((n,), 1 / n, dtype=f.dtype)

    def density(at: Tensor) -> Tensor:
        return torch.exp(-(f - at).pow(2).sum(1) / (2 * h**2))

    for _ in range(5):
        fixed = density(m)
        for _ in range(5):
            old = y
            y = torch.softmax(torch.stack([(fixed[i] + lambda_q * (p @ p[i]) @ y) / lambda_y for i in range(n)]), 0)
            if (old - y).norm() < 1e-6:
                break
        for _ in range(5):
            old, weight = m, y * density(m)
            m = (weight[:, None] * f).sum(0) / weight.sum()
            m = m / m.norm()
            if (old - m).norm() < 1e-6:
                break
    return m


@pytest.mark.parametrize(("count", "config"), [(24, MTAConfig()), (7, MTAConfig(lambda_y=0.5, lambda_q=1.0, views=7))])
def test_scores_are_those_of_the_mode(small: Clip, names: tuple[str, ...], count: int, config: MTAConfig) -> None:
    learner = MTA(small, names, config)
    held = views(count)
    text = learner.class_features()
    wanted = []
    for image in held:
        f = image / image.norm(dim=1, keepdim=True)
        p = (small.logit_scale * f @ text.T).softmax(1)
        wanted.append(small.logit_scale * plain_mode(f, p, config.lambda_y, config.lambda_q) @ text.T)
    got = learner.predict(batch_of(held))
    assert torch.allclose(got, torch.stack(wanted), atol=1e-3)
    assert not torch.allclose(got, learner(batch_of(held)), atol=0.1), "the scores are those of one view"


def test_outliers_do_not_count(small: Clip, names: tuple[str, ...]) -> None:
    learner = MTA(small, names)
    clear = views(20, spread=0.2)
    spoiled = clear.clone()
    spoiled[:, 15:] = views(5, spread=2.0, seed=9)
    shift = (learner.predict(batch_of(spoiled)) - learner.predict(batch_of(clear))).abs().mean()
    text = learner.class_features()
    mean = (small.scores(spoiled.mean(1), text) - small.scores(clear.mean(1), text)).abs().mean()
    assert shift < 0.5 * mean


def test_equal_views_give_their_common_prediction(small: Clip, single: Clip, names: tuple[str, ...]) -> None:
    """A blank picture has 64 equal crops; 0/0 in the published code."""
    for count in (1, 2, 64):
        held = views(1).expand(-1, count, -1)
        for clip, batch, tolerance in ((small, batch_of(held), 1e-6), (single, batch_of(held.float()), 1e-3)):
            learner = MTA(clip, names)
            assert torch.allclose(learner.predict(batch), learner(batch), atol=tolerance)


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(UsageError, match=r"MTAConfig.views is 1; it must be a whole number, 2 or more"):
        MTAConfig(views=1)
    with pytest.raises(UsageError, match=r"lambda_y is 0.0; it must be a number, above 0"):
        MTAConfig(lambda_y=0)


@pytest.mark.parametrize("spread", [1e-2, 3e-3, 1e-3])
def test_views_that_hardly_differ_keep_their_digits(
    small: Clip, single: Clip, names: tuple[str, ...], spread: float
) -> None:
    """2 - 2 cos has an error of 1e-7 in float32, as large as these squared distances."""
    held = views(16, spread=spread)
    held = held / held.norm(dim=-1, keepdim=True)
    affinity = torch.full((4, 16, 16), 0.5, dtype=torch.float64)
    exact = MTA(small, names).mode(held.float().double(), affinity)[1]
    got = MTA(single, names).mode(held.float(), affinity.float())[1]
    assert torch.allclose(got.double(), exact, atol=2e-3)
    assert torch.allclose(exact.sum(dim=1), torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize("count", [2, 3, 4])
def test_few_views_have_one_neighbour(small: Clip, names: tuple[str, ...], count: int) -> None:
    """30 % of the others is none: NaN in the published code."""
    assert MTA(small, names, MTAConfig(views=count)).predict(batch_of(views(count))).isfinite().all()
