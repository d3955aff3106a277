"""Figures computed from metrics. This module does not need torch."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

from vlprompt.errors import UsageError, VlpromptError


def harmonic_mean(base: float, new: float) -> float:
    """2BN / (B + N), and 0 if both are 0. Xian et al., CVPR 2017; H in tables of base-to-new."""
    return 2 * base * new / (base + new) if base + new > 0 else 0.0


Matrix = Sequence[Sequence[float]]  # [t][i]: accuracy on task i after task t, i <= t, both from 0


def average_accuracy(matrix: Matrix) -> float:
    """The mean over tasks after the last one: A_T of L2P and DualPrompt, A_N of CODA-Prompt."""
    return math.fsum(_steps(matrix)[-1]) / len(matrix)


def average_accuracy_curve_mean(matrix: Matrix) -> float:
    """The mean over t of the average accuracy after task t: larger, and what LAMDA-PILOT calls average accuracy."""
    return math.fsum(math.fsum(row) / len(row) for row in _steps(matrix)) / len(matrix)


def forgetting_max(matrix: Matrix) -> float:
    """The mean over i < T of max_{t <= T} a[t, i] - a[T, i]; never negative, since the maximum includes the last step.

    As in the code of L2P, its ports, LAMDA-PILOT and mammoth.
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
    """The matrix, after checking that each row has one entry more than the one before."""
    if not matrix or [len(row) for row in matrix] != list(range(1, len(matrix) + 1)):
        raise VlpromptError(
            f"row t of a matrix of accuracies must have t entries; the rows have the lengths "
            f"{[len(row) for row in matrix]}."
        )
    return matrix


def _before_last(matrix: Matrix, measure: Callable[[Sequence[float]], float]) -> float:
    """The mean over all tasks but the last of a measure of a task's accuracies over time; 0 with a single task."""
    rows = _steps(matrix)
    values = [measure([row[i] for row in rows[i:]]) for i in range(len(rows) - 1)]
    return math.fsum(values) / len(values) if values else 0.0


def interval95(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean of independent values (one per seed), and the half-width of its 95 % confidence interval by Student's t.

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
