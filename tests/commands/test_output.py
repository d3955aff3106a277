"""How commands print results."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from vlprompt.commands.options import RunOptions
from vlprompt.commands.output import as_json, print_results, print_tables, progress_line
from vlprompt.experiments.results import ALL_SHOTS, Result

RESULT = Result(
    protocol="few_shot", learner="coop", backbone="tiny", fingerprint="f", task="digits", split_hash="s", classes=10,
    shots=4, seed=1, metrics={"top1": 0.5, "ece_15_equal_width": 0.1},
)  # fmt: skip


def test_results_are_json_lines_or_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    results = [RESULT, replace(RESULT, seed=2)]
    assert print_results(iter(results), RunOptions(json=True), "few_shot") == results
    assert [json.loads(line)["seed"] for line in capsys.readouterr().out.splitlines()] == [1, 2]
    print_results(iter(results), RunOptions(out=Path("here")), "few_shot")
    out = capsys.readouterr().out
    assert "coop" in out
    assert f"results in {Path('here') / 'results.jsonl'}" in out


def test_progress_is_one_line() -> None:
    assert progress_line(RESULT) == "digits coop 4 shots seed 1: top1 50.0"
    waiting = replace(RESULT, variant="n_ctx=4", shots=ALL_SHOTS, extra={"waiting_for_data": 0.25})
    assert progress_line(waiting) == (
        "digits coop n_ctx=4 all shots seed 1: top1 50.0 (25% of the training waited for data)"
    )


def test_every_protocol_with_results_has_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_tables([RESULT, replace(RESULT, protocol="zero_shot", shots=0, task="photos")], "markdown")
    out = capsys.readouterr().out
    assert "digits" in out
    assert "photos" in out


def test_paths_become_text_in_json() -> None:
    assert as_json({"path": Path("a")}) == '{"path": "a"}'
