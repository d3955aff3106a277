"""Linear probe: the solution, and the search for C."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import vlprompt as vp
from vlprompt.data.batch import Batch
from vlprompt.data.batches import Batches, feature_batches
from vlprompt.errors import UsageError
from vlprompt.learners import LinearProbe, LinearProbeConfig
from vlprompt.learners.linear_probe import compared_pairs


@pytest.fixture(scope="module")
def clip() -> vp.Clip:
    return vp.load_clip("tiny")


def points(clip: vp.Clip, classes: int, seed: int, count: int = 60) -> Batches:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    centres = torch.randn(classes, clip.embed_dim, generator=torch.Generator().manual_seed(9))
    noise = torch.randn(count, clip.embed_dim, generator=generator)
    return feature_batches(centres[labels] + noise, labels, batch_size=32)


@pytest.mark.parametrize("classes", [2, 5])
def test_it_is_scikit_learns_solution(clip: vp.Clip, classes: int) -> None:
    train = points(clip, classes, seed=1)
    learner = LinearProbe(clip, [str(i) for i in range(classes)], LinearProbeConfig(fallback=0.5))
    learner.prepare(train, None)
    x = torch.cat([b.features for b in train.epoch(0)])
    y = torch.cat([b.labels for b in train.epoch(0)])
    own = learner.predict(Batch(y, y, features=x)).softmax(dim=1).numpy()
    x = x.double().numpy()
    theirs = LogisticRegression(C=0.5, max_iter=1000).fit(x, y.numpy()).predict_proba(x)
    assert np.abs(own - theirs).max() < 1e-3


def test_c_is_chosen_on_validation_data(clip: vp.Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[float] = []
    solve = LinearProbe._solve
    monkeypatch.setattr(LinearProbe, "_solve", lambda self, x, y, c: tried.append(c) or solve(self, x, y, c))
    learner = LinearProbe(clip, ["a", "b", "c"])
    learner.prepare(points(clip, 3, seed=1), points(clip, 3, seed=2))
    assert set(tried) >= {1e6, 1e4, 1e2, 1, 1e-2, 1e-4, 1e-6}
    assert len(tried) > 8, "a finer search follows the grid"


def test_the_binary_search_finds_the_peak() -> None:
    def value(c: float) -> float:
        return -abs(np.log10(c) - 1.7)

    best = max(compared_pairs(value, 1.0, 1e3, 13)[-1], key=value)
    assert abs(np.log10(best) - 1.7) < 0.01


@pytest.mark.parametrize("count", [1, 2, 8])
def test_of_equal_values_the_smaller_c_remains(count: int) -> None:
    """As in lpclip: `count` pairs are compared, and a flat accuracy ends at the left end."""
    pairs = compared_pairs(lambda _: 0.5, 0.1, 10.0, count)
    assert len(pairs) == count
    assert all(low == 0.1 for low, _ in pairs)
    assert pairs[-1][1] == pytest.approx(10 ** (1 - 2 * (1 - 0.5 ** (count - 1))))


def test_a_flat_accuracy_ends_at_a_tenth_of_the_first_c(clip: vp.Clip) -> None:
    assert LinearProbe(clip, ["a", "b"]).search(lambda _: 1.0) == pytest.approx(1e5)


def test_a_larger_c_is_found_where_it_is_better(clip: vp.Clip) -> None:
    assert 3.0 < LinearProbe(clip, ["a", "b"]).search(lambda c: float(0.5 < c < 50) + (3.0 < c < 50)) < 50


@pytest.mark.parametrize("wrong", [{"iterations": 0}, {"search_steps": -1}, {"fallback": 0.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"LinearProbeConfig.{next(iter(wrong))} is"):
        LinearProbeConfig(**wrong)


def test_one_class_alone_is_refused(clip: vp.Clip) -> None:
    with pytest.raises(UsageError, match="2 classes or more"):
        LinearProbe(clip, ["a", "b"]).prepare(points(clip, 1, seed=1), None)


def test_a_class_without_images_is_never_predicted(clip: vp.Clip) -> None:
    learner = LinearProbe(clip, ["a", "b", "never"])
    train = points(clip, 2, seed=1)
    learner.prepare(train, None)
    batch = next(iter(train.epoch(0)))
    assert int(learner.predict(batch).argmax(dim=1).max()) <= 1
