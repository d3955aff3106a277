"""vlprompt base-to-new."""

from collections.abc import Callable
from pathlib import Path

import pytest

from vlprompt import cli
from vlprompt.experiments.results_file import read


def test_it_prints_base_new_and_h(tmp_path: Path, quick: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--out", str(tmp_path), "--shots", "1", "--seeds", "1"]
    cli.main(["base-to-new", *options, *quick, "--learners", "zero_shot", "coop"])
    out = capsys.readouterr().out
    assert all(word in out for word in ("base", "new", "H"))
    for result in read(tmp_path / "results.jsonl"):
        b, n = result.metrics["base_top1"], result.metrics["new_top1"]
        assert result.metrics["harmonic_mean"] == pytest.approx(2 * b * n / (b + n))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--learners", "linear_probe"], "one weight vector per class"),
        (["--learners", "coop", "--set", "coop.class_specific=true"], "class-specific"),
    ],
)
def test_learners_with_fixed_classes_are_refused(
    arguments: list[str], message: str, tmp_path: Path, fails: Callable[..., str]
) -> None:
    assert message in fails(["base-to-new", *arguments, "--out", str(tmp_path)])
    assert not (tmp_path / "results.jsonl").exists()
