"""bfloat16 beside float32: the table is made, and a difference that chance does not explain fails."""

import pytest

from benchmarks.accuracy import bf16
from benchmarks.accuracy.bf16 import Judged, apart


def test_a_difference_counts_beyond_the_interval() -> None:
    exact = Judged((0.80, 0.82, 0.84), 1.0, 100)
    assert exact.half == pytest.approx(4.303 * 0.02 / 3**0.5, rel=1e-3)
    assert not apart(exact, Judged((0.79, 0.80, 0.81), 1.0, 100))
    assert apart(exact, Judged((0.70, 0.71, 0.72), 1.0, 100))
    once = Judged((0.5,), 1.0, 100)  # nothing is drawn: the images are what chance there is
    assert once.half == pytest.approx(0.098)
    assert not apart(once, Judged((0.45,), 1.0, 100))
    assert apart(once, Judged((0.35,), 1.0, 100))


def test_every_method_is_judged_in_both(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bf16, "METHODS", ("zero_shot", "coop", "vpt"))
    monkeypatch.setattr(bf16, "matrix_rate", lambda **options: 100.0)
    given = ["--task", "digits", "--backbone", "tiny", "--seeds", "1", "--shots", "1", "--steps", "2", "--images", "20"]
    bf16.main(given)
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
    assert {"zero_shot", "coop", "vpt", "image", "matrix"} <= rows.keys()
    assert rows["zero_shot"].rstrip().endswith(("same", "DIFFERENT"))
