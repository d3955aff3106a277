"""Metrics against their definitions, written out slowly, and against scikit-learn."""

import math

import hypothesis
import hypothesis.strategies as st
import pytest
import sklearn.metrics
import torch
from torch import Tensor

from vlprompt.errors import UsageError, VlpromptError
from vlprompt.training import metrics


def some(n: int = 400, classes: int = 7, unknown: float = 0.2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Scores that are right about half the time, and labels of which some are unknown."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=draw)
    scores = torch.randn(n, classes, generator=draw) * 2
    scores[torch.arange(n), labels] += 1.5
    labels[torch.rand(n, generator=draw) < unknown] = -1
    return scores, labels


def slow_ece(scores: Tensor, labels: Tensor) -> float:
    """Guo et al. 2017, equations 2 and 3, bin by bin."""
    probabilities = scores.double().softmax(1)
    rows = [(max(p.tolist()), int(p.argmax()) == int(y)) for p, y in zip(probabilities, labels, strict=True) if y >= 0]
    total = 0.0
    for m in range(1, 16):
        inside = [(conf, hit) for conf, hit in rows if (m - 1) / 15 < conf <= m / 15]
        if inside:
            accuracy = sum(hit for _, hit in inside) / len(inside)
            total += len(inside) / len(rows) * abs(accuracy - sum(conf for conf, _ in inside) / len(inside))
    return total


@pytest.mark.parametrize("classes", [2, 7, 30])
def test_against_scikit_learn(classes: int) -> None:
    scores, labels = some(classes=classes)
    known = labels >= 0
    true, guess = labels[known].numpy(), scores.argmax(1)[known].numpy()
    assert metrics.top1(scores, labels) == sklearn.metrics.accuracy_score(true, guess)
    assert metrics.class_mean(scores, labels) == pytest.approx(sklearn.metrics.balanced_accuracy_score(true, guess))
    reference = sklearn.metrics.confusion_matrix(true, guess, labels=range(classes))
    assert metrics.confusion_matrix(scores, labels).tolist() == reference.tolist()
    if classes > 5:
        top5 = sklearn.metrics.top_k_accuracy_score(true, scores[known].numpy(), k=5, labels=range(classes))
        assert metrics.top5(scores, labels) == pytest.approx(top5)


@pytest.mark.parametrize("seed", range(5))
def test_calibration_error_bin_by_bin(seed: int) -> None:
    scores, labels = some(seed=seed)
    assert metrics.ece_15_equal_width(scores, labels) == pytest.approx(slow_ece(scores, labels), abs=1e-12)


def test_calibration_error_of_known_cases() -> None:
    sure = torch.tensor([[100.0, 0.0]] * 4)
    assert metrics.ece_15_equal_width(sure, torch.tensor([0, 0, 0, 1])) == pytest.approx(0.25)
    coin = torch.zeros(4, 2)
    assert metrics.ece_15_equal_width(coin, torch.tensor([0, 1, 0, 1])) == 0.0
    # Nine fifteenths is where two bins meet; the errors of one bin would cancel.
    pair = torch.tensor([[0.599, 0.401], [0.601, 0.399]], dtype=torch.float64).log()
    assert metrics.ece_15_equal_width(pair, torch.tensor([0, 1])) == pytest.approx((0.401 + 0.601) / 2)


def test_class_mean_leaves_out_classes_that_do_not_occur() -> None:
    scores = torch.eye(4)[[0, 0, 0, 1, 3]]
    labels = torch.tensor([0, 0, 0, 3, 3])
    assert metrics.class_mean(scores, labels) == 0.75
    assert metrics.top1(scores, labels) == 0.8


def test_a_constant_score_does_not_count_as_right() -> None:
    """With every score equal, counting ties as hits would give 100 %."""
    flat = torch.zeros(8, 8)
    assert metrics.top1(flat, torch.arange(8)) == 1 / 8
    assert metrics.top5(flat, torch.arange(8)) == 5 / 8


def test_half_precision_scores_are_judged_in_double() -> None:
    scores, labels = some()
    half = scores.bfloat16()
    assert metrics.ece_15_equal_width(half, labels) == metrics.ece_15_equal_width(half.double(), labels)


@hypothesis.settings(deadline=None)
@hypothesis.given(seed=st.integers(0, 10**6), classes=st.integers(5, 12), n=st.integers(1, 40))
def test_what_must_hold_for_any_scores(seed: int, classes: int, n: int) -> None:
    scores, labels = some(n, classes, unknown=0.0, seed=seed)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    for name, value in metrics.compute(metrics.METRICS, scores, labels).items():
        assert 0 <= value <= 1
        assert metrics.METRICS[name](scores[order], labels[order]) == pytest.approx(value, abs=1e-12)
        padded, unlabelled = torch.cat([scores, scores]), torch.cat([labels, torch.full_like(labels, -1)])
        assert metrics.METRICS[name](padded, unlabelled) == value
    assert metrics.top5(scores, labels) >= metrics.top1(scores, labels)
    assert int(metrics.confusion_matrix(scores, labels).sum()) == n


@pytest.mark.parametrize(
    ("scores", "labels", "said"),
    [
        (torch.zeros(3, 2), torch.full((3,), -1), "none of the 3 examples"),
        (torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), "none of the 0 examples"),
        (torch.zeros(3, 2), torch.tensor([0, 1, 2]), "label 2 has no score; there are 2 classes"),
        (torch.zeros(3, 2), torch.zeros(2), r"they are \(3, 2\) and \(2,\)"),
        (torch.zeros(3), torch.zeros(3), r"they are \(3,\) and \(3,\)"),
        (torch.tensor([[0.0, math.nan], [1.0, 0.0]]), torch.tensor([1, 0]), "1 of 2 examples are NaN"),
    ],
)
@pytest.mark.parametrize("name", ["top1", "top5", "class_mean", "ece_15_equal_width"])
def test_what_cannot_be_judged_is_one_line(name: str, scores: Tensor, labels: Tensor, said: str) -> None:
    with pytest.raises(VlpromptError, match=said):
        metrics.METRICS[name](scores, labels)


def test_masked_classes_may_score_minus_infinity() -> None:
    scores = torch.tensor([[0.0, -math.inf], [0.0, -math.inf]])
    assert metrics.top1(scores, torch.tensor([0, 1])) == 0.5
    assert metrics.ece_15_equal_width(scores, torch.tensor([0, 1])) == 0.5


def test_nan_of_an_unjudged_example_does_not_matter() -> None:
    scores = torch.tensor([[1.0, 0.0], [math.nan, 0.0]])
    assert metrics.top1(scores, torch.tensor([0, -1])) == 1.0


def test_top5_refuses_fewer_than_five_classes() -> None:
    with pytest.raises(UsageError, match="at least 5 classes, there are 4"):
        metrics.top5(torch.zeros(2, 4), torch.tensor([0, 1]))


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'top1'"):
        metrics.compute(["top_1"], torch.zeros(2, 4), torch.tensor([0, 1]))
