"""vlprompt continual."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vlprompt import cli
from vlprompt.experiments.results_file import read


def test_it_prints_a_matrix_draws_plots_and_repeats_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="plots need the extra `plot`")
    command = ["continual", "--out", str(tmp_path / "run"), "--shots", "4", "--test-shots", "4", "--tasks", "2"]
    command += ["--seeds", "1", "2", "--augment", "none", "--set", "train.epochs=1", "l2p.length=2"]
    cli.main([*command, "--plot", str(tmp_path / "plot.png")])
    out = capsys.readouterr().out
    words = ("digits/2-tasks", "forgetting_stepwise", "linear (mask=classes)", "after task 2")
    assert all(word in out for word in words)
    assert all((tmp_path / f"plot-{name}.png").is_file() for name in ("matrix", "tasks", "usage"))
    cli.main([*command, "--json"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["learner"] for line in lines] == ["linear"] * 2 + ["l2p"] * 2 + ["linear"] * 4
    assert len(read(tmp_path / "run" / "results.jsonl")) == 8, "the second time nothing ran"
    cli.main(["report", str(tmp_path / "run" / "results.jsonl"), "--plot", str(tmp_path / "again.png")])
    assert "again-usage.png" in capsys.readouterr().out


def test_the_number_of_tasks_cannot_be_given_with_domains(fails: Callable[..., str]) -> None:
    assert "--tasks cannot be given too" in fails(["continual", "--domains", "--tasks", "3"])
