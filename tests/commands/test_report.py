"""vlprompt report."""

from collections.abc import Callable
from pathlib import Path

import pytest

from vlprompt import cli


def test_it_prints_and_draws_earlier_results(
    tmp_path: Path, quick: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--out", str(tmp_path), "--seeds", "1", *quick]
    cli.main(["few-shot", *options, "--shots", "1", "2", "--learners", "zero_shot", "coop"])
    cli.main(["base-to-new", "--out", str(tmp_path), "--seeds", "1", "--shots", "1", "--learners", "zero_shot"])
    capsys.readouterr()
    for form, sign in (("terminal", "coop"), ("markdown", "|"), ("latex", r"\toprule")):
        cli.main(["report", str(tmp_path / "results.jsonl"), "--form", form])
        assert sign in capsys.readouterr().out
    cli.main(["report", str(tmp_path / "results.jsonl"), "--plot", str(tmp_path / "plot.png")])
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_a_missing_file_is_one_line(fails: Callable[..., str]) -> None:
    assert "/nowhere/results.jsonl" in fails(["report", "/nowhere/results.jsonl"], 1)
