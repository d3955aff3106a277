"""Figures computed from metrics, against published numbers and textbooks."""

import math

import pytest
import scipy.stats

from vlprompt.errors import UsageError, VlpromptError
from vlprompt.experiments import statistics

GROWING = [[0.9], [0.5, 0.8], [0.7, 0.6, 0.95], [0.6, 0.85, 0.65, 0.75]]


def test_harmonic_mean_of_published_numbers() -> None:
    """CLIP ViT-B/16 averaged over eleven data sets (CoCoOp, table 1): 69.34 and 74.22 give 71.70."""
    assert round(100 * statistics.harmonic_mean(0.6934, 0.7422), 2) == 71.70
    assert statistics.harmonic_mean(0.0, 0.0) == 0.0
    assert statistics.harmonic_mean(0.0, 1.0) == 0.0


def test_the_interval_equals_the_textbook_one() -> None:
    values = [0.81, 0.84, 0.79]
    low, high = scipy.stats.t.interval(0.95, 2, loc=scipy.stats.tmean(values), scale=scipy.stats.sem(values))
    mean, half = statistics.interval95(values)
    assert half is not None
    assert (mean - half, mean + half) == pytest.approx((low, high))
    assert half == pytest.approx(4.302652729911275 * 0.02516611478423585 / math.sqrt(3))


def test_the_interval_of_few_values() -> None:
    assert statistics.interval95([0.5]) == (0.5, None)
    assert statistics.interval95([0.1, 0.1, 0.1]) == (pytest.approx(0.1), pytest.approx(0.0, abs=1e-15))
    with pytest.raises(UsageError, match="at least one value"):
        statistics.interval95([])


def test_each_definition_of_forgetting_gives_its_own_number() -> None:
    """Computed by hand from GROWING, row t after task t."""
    assert statistics.average_accuracy(GROWING) == pytest.approx((0.6 + 0.85 + 0.65 + 0.75) / 4)
    curve = [0.9, 0.65, 0.75, 0.7125]
    assert statistics.average_accuracy_curve_mean(GROWING) == pytest.approx(sum(curve) / 4)
    assert statistics.forgetting_max(GROWING) == pytest.approx((0.3 + 0.0 + 0.3) / 3)
    assert statistics.forgetting_chaudhry(GROWING) == pytest.approx((0.3 - 0.05 + 0.3) / 3)
    assert statistics.backward_transfer(GROWING) == pytest.approx((-0.3 + 0.05 - 0.3) / 3)
    steps = [0.4, (-0.2 + 0.2) / 2, (0.1 - 0.25 + 0.3) / 3]
    assert statistics.forgetting_stepwise(GROWING) == pytest.approx(sum(steps) / 3)
    assert [measure([[0.5]]) for measure in statistics.CONTINUAL.values()] == [0.5, 0.5, 0, 0, 0, 0]
    with pytest.raises(VlpromptError, match=r"the lengths \[1, 3\]"):
        statistics.forgetting_max([[0.5], [0.1, 0.2, 0.3]])
