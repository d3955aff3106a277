"""vlprompt cross-dataset."""

from collections.abc import Callable
from pathlib import Path

import pytest

from vlprompt import cli
from vlprompt.experiments.results_file import read


def test_it_evaluates_on_another_data_set(
    tmp_path: Path, twelve_digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["cross-dataset", "--targets", str(twelve_digits), "--learners", "zero_shot", "--out", str(tmp_path)]
    cli.main(command)
    assert "photos" in capsys.readouterr().out
    (result,) = read(tmp_path / "results.jsonl")
    assert result.metrics.keys() >= {"digits_top1", "photos_top1"}


def test_an_unknown_target_is_one_line(tmp_path: Path, fails: Callable[..., str]) -> None:
    assert "unknown data set" in fails(["cross-dataset", "--targets", "nowhere", "--out", str(tmp_path)])
