"""vlprompt test-time."""

from collections.abc import Callable
from pathlib import Path

import pytest

from vlprompt import cli


def test_it_prints_before_and_after_and_report_prints_the_same(
    tmp_path: Path, twelve_digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["test-time", "--task", str(twelve_digits), "--out", str(tmp_path), "--seeds", "1"]
    cli.main([*command, "--learners", "zero_shot", "mta", "tda", "--set", "mta.views=4"])
    out = capsys.readouterr().out
    assert all(word in out for word in ("mta (views=4), episodic", "tda, online", "gain", "ECE before", "s/image"))
    cli.main(["report", str(tmp_path / "results.jsonl")])
    assert out.splitlines()[:9] == capsys.readouterr().out.splitlines()[:9]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--learners", "mta", "--set", "mta.views=1"], "MTAConfig.views is 1; it must be a whole number, 2 or more"),
        (["--learners", "tda", "--set", "tda.views=0"], "TDAConfig.views is 0; it must be a whole number, 1 or more"),
        (["--learners", "zero", "--set", "zero.views=900000000"], "views at most"),
        (["--learners", "mta+coop"], "not on what coop has learned"),
        (["--task", "digits-c/noise-9"], "severity '9'"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str, tmp_path: Path, fails: Callable[..., str]) -> None:
    assert message in fails(["test-time", *arguments, "--out", str(tmp_path)])
    assert not (tmp_path / "results.jsonl").exists()
