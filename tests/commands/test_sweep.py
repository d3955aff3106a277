"""vlprompt sweep."""

from collections.abc import Callable
from pathlib import Path

import pytest

from vlprompt import cli

GRID = """
protocol = "zero_shot"
task = "digits"
learners = ["zero_shot"]
"""


def test_runs_are_listed_or_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "grid.toml").write_text(GRID)
    command = ["sweep", str(tmp_path / "grid.toml"), "--out", str(tmp_path), "--workers", "1"]
    cli.main([*command, "--list"])
    assert "zero_shot digits" in capsys.readouterr().out
    assert not (tmp_path / "results.jsonl").exists()
    cli.main(command)
    assert "results in" in capsys.readouterr().out
    assert (tmp_path / "results.jsonl").is_file()


def test_negative_numbers_are_one_line(fails: Callable[..., str]) -> None:
    assert "threads must be 1 or more" in fails(["sweep", "grid.toml", "--threads", "0"])
