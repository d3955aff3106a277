"""How good scores are: pure functions of (scores, labels). Everything is a fraction; reports turn it into percent.

A label of -1 means unknown and is left out. A name carries the definition where the field has several.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from vlprompt.errors import UsageError, VlpromptError, unknown

BINS = 15


def top1(scores: Tensor, labels: Tensor) -> float:
    """The share of examples whose highest score is their label's; the first of equal scores counts.

    Args:
        scores: (N, C), higher is more likely.
        labels: (N,), -1 where unknown.

    Raises:
        VlpromptError: No label is known, shapes do not fit, a label has no column, or a score is NaN.
    """
    scores, labels = _judged(scores, labels)
    return _mean(scores.argmax(1) == labels)


def top5(scores: Tensor, labels: Tensor) -> float:
    """The share of examples whose label is among the five highest scores; of equal scores the first ones count.

    Args:
        scores: (N, C) with C >= 5.
        labels: (N,), -1 where unknown.

    Raises:
        UsageError: There are fewer than five classes.
        VlpromptError: As for `top1`.
    """
    scores, labels = _judged(scores, labels)
    if scores.shape[1] < 5:
        raise UsageError(f"top5 needs at least 5 classes, there are {scores.shape[1]}; ask for top1.")
    best = scores.sort(dim=1, descending=True, stable=True).indices[:, :5]  # (N, 5)
    return _mean((best == labels[:, None]).any(1))


def class_mean(scores: Tensor, labels: Tensor) -> float:
    """The accuracy of each class that occurs, averaged over classes (also called mean per-class accuracy).

    Args:
        scores: (N, C).
        labels: (N,), -1 where unknown.

    Raises:
        VlpromptError: As for `top1`.
    """
    table = confusion_matrix(scores, labels).double()
    occurs = table.sum(1) > 0
    return float((table.diagonal()[occurs] / table.sum(1)[occurs]).mean())


def confusion_matrix(scores: Tensor, labels: Tensor) -> Tensor:
    """Count every pair of a true and a predicted class.

    Args:
        scores: (N, C).
        labels: (N,), -1 where unknown.

    Returns:
        (C, C) int64, row: true class, column: the class of the highest score.

    Raises:
        VlpromptError: As for `top1`.
    """
    scores, labels = _judged(scores, labels)
    size = scores.shape[1]
    return torch.bincount(labels * size + scores.argmax(1), minlength=size * size).reshape(size, size)


def ece_15_equal_width(scores: Tensor, labels: Tensor) -> float:
    """Expected calibration error of softmax(scores), 15 bins of equal width. Guo et al., ICML 2017, equation 3.

    Bin m holds confidences in ((m-1)/15, m/15]; the error is the sum over bins of their share of the examples times
    the distance of their accuracy from their mean confidence.

    Args:
        scores: (N, C), logits: their softmax is taken as probabilities.
        labels: (N,), -1 where unknown.

    Raises:
        VlpromptError: As for `top1`.
    """
    scores, labels = _judged(scores, labels)
    confidence, predicted = scores.softmax(1).max(1)  # (N,), (N,)
    bins = torch.bucketize(confidence, torch.arange(1, BINS, dtype=torch.float64, device=scores.device) / BINS)
    # In each bin, N_m * (accuracy - confidence) is the sum of (correct - confidence).
    gaps = torch.zeros(BINS, dtype=torch.float64, device=scores.device)
    gaps.index_add_(0, bins, (predicted == labels).double() - confidence)
    return float(gaps.abs().sum() / len(labels))


METRICS: Mapping[str, Callable[[Tensor, Tensor], float]] = {
    function.__name__: function for function in (top1, top5, class_mean, ece_15_equal_width)
}


def compute(names: Iterable[str], scores: Tensor, labels: Tensor) -> dict[str, float]:
    """Several metrics by name.

    Args:
        names: Keys of `METRICS`.
        scores: (N, C).
        labels: (N,), -1 where unknown.

    Raises:
        UsageError: A name is not known.
        VlpromptError: As for `top1`.
    """
    names = list(names)
    for name in names:
        if name not in METRICS:
            raise unknown("metric", name, METRICS)
    return {name: METRICS[name](scores, labels) for name in names}


def harmonic_mean(base: float, new: float) -> float:
    """2BN / (B + N), and 0 when both are 0. Xian et al., CVPR 2017; the H of base-to-new tables."""
    return 2 * base * new / (base + new) if base + new > 0 else 0.0


Matrix = Sequence[Sequence[float]]  # [t][i]: accuracy on task i after task t was learned, i <= t; both from 0


def average_accuracy(matrix: Matrix) -> float:
    """The mean over tasks after the last one: A_T of L2P and DualPrompt, A_N of CODA-Prompt."""
    return math.fsum(_steps(matrix)[-1]) / len(matrix)


def average_accuracy_curve_mean(matrix: Matrix) -> float:
    """The mean over t of the average accuracy after task t: larger, and what LAMDA-PILOT calls average accuracy."""
    return math.fsum(math.fsum(row) / len(row) for row in _steps(matrix)) / len(matrix)


def forgetting_max(matrix: Matrix) -> float:
    """The mean over i < T of max_{t <= T} a[t, i] - a[T, i]; the last step is in the maximum, so it is never negative.

    The code of L2P, its ports, LAMDA-PILOT and mammoth.
    """
    return _before_last(matrix, lambda accuracies: max(accuracies) - accuracies[-1])


def forgetting_chaudhry(matrix: Matrix) -> float:
    """The mean over i < T of max_{t < T} a[t, i] - a[T, i]. Chaudhry et al., ECCV 2018, equation 3."""
    return _before_last(matrix, lambda accuracies: max(accuracies[:-1]) - accuracies[-1])


def backward_transfer(matrix: Matrix) -> float:
    """The mean over i < T of a[T, i] - a[i, i]. Lopez-Paz and Ranzato, NeurIPS 2017, equation 3."""
    return _before_last(matrix, lambda accuracies: accuracies[-1] - accuracies[0])


def forgetting_stepwise(matrix: Matrix) -> float:
    """The mean over t of the mean over i < t of a[t-1, i] - a[t, i]: the drop in a step (CODA-Prompt's code)."""
    steps = itertools.pairwise(_steps(matrix))
    drops = [math.fsum(a - b for a, b in zip(old, new, strict=False)) / len(old) for old, new in steps]
    return math.fsum(drops) / len(drops) if drops else 0.0


CONTINUAL: Mapping[str, Callable[[Matrix], float]] = {
    function.__name__: function
    for function in (
        average_accuracy,
        average_accuracy_curve_mean,
        forgetting_max,
        forgetting_chaudhry,
        backward_transfer,
        forgetting_stepwise,
    )
}


def _steps(matrix: Matrix) -> Matrix:
    """The matrix, if its rows are those of a continual run."""
    if not matrix or [len(row) for row in matrix] != list(range(1, len(matrix) + 1)):
        raise VlpromptError(
            f"a matrix of accuracies has one entry in its first row and one more in each; the rows given have "
            f"{[len(row) for row in matrix]}."
        )
    return matrix


def _before_last(matrix: Matrix, measure: Callable[[Sequence[float]], float]) -> float:
    """The mean of a measure of every task's accuracies over time, the last task left out; 0 where there is one."""
    rows = _steps(matrix)
    found = [measure([row[i] for row in rows[i:]]) for i in range(len(rows) - 1)]
    return math.fsum(found) / len(found) if found else 0.0


def interval95(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and half-width of its 95 % confidence interval, by Student's t over independent values (one per seed).

    Returns:
        The mean, and t(0.975, n-1) * s / sqrt(n) with the sample deviation s; None for a single value.

    Raises:
        UsageError: There is no value.
    """
    from scipy.special import stdtrit

    n = len(values)
    if n == 0:
        raise UsageError("an interval needs at least one value; none was given.")
    mean = math.fsum(values) / n
    if n == 1:
        return mean, None
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return mean, float(stdtrit(n - 1, 0.975)) * math.sqrt(variance / n)


def _judged(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Scores in float64 and labels of the examples whose label is known."""
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise VlpromptError(
            f"scores must be (N, C) and labels (N,); they are {tuple(scores.shape)} and {tuple(labels.shape)}."
        )
    known = labels >= 0
    scores, labels = scores.detach()[known].double(), labels[known].long()
    if len(labels) == 0:
        raise VlpromptError(f"none of the {len(known)} examples has a known label; a metric needs at least one.")
    if int(labels.max()) >= scores.shape[1]:
        raise VlpromptError(f"label {int(labels.max())} has no score; there are {scores.shape[1]} classes.")
    if bool(scores.isnan().any()):
        raise VlpromptError(f"scores of {int(scores.isnan().any(1).sum())} of {len(labels)} examples are NaN.")
    return scores, labels


def _mean(hits: Tensor) -> float:
    return float(hits.double().mean())
