"""vlprompt zero-shot."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vlprompt import cli


def test_it_evaluates_all_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["zero-shot", "--out", str(tmp_path), "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result["examples"] == 1797
    assert result["metrics"]["top1"] >= 0.80


def test_options_of_training_are_refused(tmp_path: Path, fails: Callable[..., str]) -> None:
    for option in (["--augment", "none"], ["--set", "train.epochs=3"]):
        assert "no learner of this run is trained" in fails(["zero-shot", "--out", str(tmp_path), *option])
