"""How good scores are: pure functions of (scores, labels). Everything is a fraction; reports turn it into percent.

A label of -1 means unknown and is left out. A name carries the definition where the field has several.
"""

from collections.abc import Callable, Iterable, Mapping

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
