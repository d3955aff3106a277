"""vlprompt domain-shift."""

from collections.abc import Callable
from pathlib import Path

import pytest

from vlprompt import cli
from vlprompt.experiments.results_file import read


def test_it_evaluates_on_other_versions_of_the_classes(
    tmp_path: Path, twelve_digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["domain-shift", "--targets", str(twelve_digits), "--learners", "zero_shot", "--out", str(tmp_path)]
    cli.main(command)
    assert "photos" in capsys.readouterr().out
    (result,) = read(tmp_path / "results.jsonl")
    assert result.metrics.keys() >= {"digits_top1", "photos_top1"}


def test_without_targets_the_data_needs_several_domains(tmp_path: Path, fails: Callable[..., str]) -> None:
    assert "unknown data set of several domains" in fails(["domain-shift", "--task", "digi", "--out", str(tmp_path)])
