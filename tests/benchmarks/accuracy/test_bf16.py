"""The comparison of bfloat16 and float32: intervals, differences, the table."""

import pytest
import torch

from benchmarks.accuracy import bf16
from benchmarks.accuracy.bf16 import Evaluated, differ, difference


def of(*accuracies: float, first: int = 0) -> Evaluated:
    """Correct predictions for a share of 100 images, from image `first` on."""
    correct = torch.zeros(len(accuracies), 100, dtype=torch.bool)
    for row, accuracy in zip(correct, accuracies, strict=True):
        row[first : first + round(100 * accuracy)] = True
    return Evaluated(accuracies, 1.0, correct)


def test_a_difference_beyond_the_interval_is_significant() -> None:
    exact = of(0.80, 0.82, 0.84)
    assert exact.half_width == pytest.approx(4.303 * 0.02 / 3**0.5, rel=1e-3)
    assert not differ(exact, of(0.79, 0.80, 0.81))
    assert differ(exact, of(0.70, 0.71, 0.72))
    once = of(0.5)  # one run: the interval is over images
    assert once.half_width == pytest.approx(0.098)
    assert not differ(once, of(0.45))
    assert differ(once, of(0.35))


def test_the_difference_is_within_a_seed() -> None:
    assert difference(of(0.50, 0.70, 0.90), of(0.49, 0.69, 0.89)) == (pytest.approx(-0.01), pytest.approx(0, abs=1e-9))
    mean, half = difference(of(0.50, 0.70, 0.90), of(0.51, 0.69, 0.91))
    assert mean == pytest.approx(0.01 / 3)
    assert half == pytest.approx(4.303 * 0.01 * (4 / 3) ** 0.5 / 3**0.5, rel=1e-3)
    assert difference(of(0.5), of(0.5)) == (0, 0)
    mean, half = difference(of(0.5), of(0.5, first=10))  # ten images gained, ten lost
    assert mean == 0
    assert half == pytest.approx(1.96 * (20 / 99) ** 0.5 / 10)


def test_every_method_is_evaluated_in_both_precisions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bf16, "METHODS", ("zero_shot", "coop", "vpt"))
    monkeypatch.setattr(bf16, "matrix_rate", lambda **options: 100.0)
    given = ["--task", "digits", "--backbone", "tiny", "--seeds", "1", "--shots", "1", "--steps", "2", "--images", "20"]
    bf16.main(given)
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
    assert {"zero_shot", "coop", "vpt", "image", "matrix"} <= rows.keys()
    assert rows["zero_shot"].rstrip().endswith(("same", "DIFFERENT"))
