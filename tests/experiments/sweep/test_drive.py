"""A sweep in one process: failures are stored and do not stop the rest, and finished runs are not repeated."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from vlprompt import cli
from vlprompt.errors import VlpromptError, VlpromptWarning
from vlprompt.experiments.results import Result
from vlprompt.experiments.results_file import read
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.sweep import drive, worker
from vlprompt.experiments.sweep.cluster import WorkerPool
from vlprompt.experiments.sweep.drive import sweep
from vlprompt.experiments.sweep.plan import Unit, read_sweep, units

FEW = """
protocol = ["few_shot", "base_to_new"]
task = "photos"
learners = ["coop", "linear_probe"]
shots = 1
seeds = [1, 2]
set.train = { augment = "none", epochs = 1 }
set.coop.n_ctx = 2
"""
SINGLE = WorkerPool(workers=1)


@pytest.fixture
def few(photos: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Unit]:
    """Eight runs, of which the two of a linear probe on new classes must fail."""
    monkeypatch.chdir(photos)
    monkeypatch.setenv("VLPROMPT_CACHE", environment["VLPROMPT_CACHE"])
    monkeypatch.setattr("warnings.showwarning", None)  # the command line sets it; this restores it afterwards
    (tmp_path / "few.toml").write_text(FEW)
    return units(read_sweep(tmp_path / "few.toml"))


def test_failures_are_stored_and_the_rest_runs(few: list[Unit], tmp_path: Path) -> None:
    swept = sweep(few, tmp_path, SINGLE, quiet=True)
    assert len(swept.results) == 6
    assert {(r.protocol, r.learner) for r in swept.results} == {
        ("few_shot", "coop"),
        ("few_shot", "linear_probe"),
        ("base_to_new", "coop"),
    }
    assert [line.partition(":")[0] for line in swept.failures] == [
        f"base_to_new photos linear_probe 1 shot seed {seed} augment=none epochs=1" for seed in (1, 2)
    ]
    stored = [json.loads(line) for line in (tmp_path / "failures.jsonl").read_text().splitlines()]
    assert len(stored) == 2
    assert "not trained for" in stored[0]["error"]
    assert stored[0]["unit"]["experiment"]["seeds"] == [1]
    again = sweep([unit for unit in few if "linear" not in unit.label], tmp_path, SINGLE, quiet=True)
    assert not again.failures
    assert not (tmp_path / "failures.jsonl").exists(), "it holds the failures of the last sweep only"
    assert len(read(tmp_path / "results.jsonl")) == 6, "a run with a result is not repeated"


def test_the_command_prints_a_line_for_every_failure(
    few: list[Unit], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sweep", str(tmp_path / "few.toml"), "--out", str(tmp_path / "runs"), "--workers", "1"]
    cli.main([*command, "--list"])
    assert len(capsys.readouterr().out.splitlines()) == len(few)
    assert not (tmp_path / "runs").exists()
    with pytest.raises(SystemExit) as stop:
        cli.main(command)
    assert stop.value.code == 1
    printed = capsys.readouterr()
    assert printed.err.count("\nvlprompt: failed: base_to_new photos linear_probe") == 2
    assert "2 of 8 runs failed" in printed.err
    assert "8/8" in printed.err
    assert "failed=2" in printed.err
    assert "coop (n_ctx=2)" in printed.out
    with pytest.raises(SystemExit):
        cli.main([*command, "--json"])
    assert len([Result.from_json(line) for line in capsys.readouterr().out.splitlines()]) == 6


def test_an_unexpected_error_is_stored_with_its_trace(
    few: list[Unit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Runner.run

    def breaks(self: Runner, *given: object, **more: object) -> Result:
        if more["seed"] == 2:
            raise ZeroDivisionError("a fault\nof the code")
        return run(self, *given, **more)

    monkeypatch.setattr(Runner, "run", breaks)
    swept = sweep([unit for unit in few if unit.experiment.protocol == "few_shot"], tmp_path, SINGLE, quiet=True)
    assert len(swept.results) == 2
    assert all(line.endswith("ZeroDivisionError: a fault") for line in swept.failures)
    assert "in breaks" in json.loads((tmp_path / "failures.jsonl").read_text().splitlines()[0])["trace"]


def test_missing_data_fails_its_own_runs_only(few: list[Unit], tmp_path: Path) -> None:
    away = replace(few[0], experiment=replace(few[0].experiment, task="nowhere"))
    swept = sweep([away, few[0]], tmp_path, SINGLE, quiet=True)
    assert len(swept.results) == 1
    assert "no folder nowhere" in swept.failures[0]


def test_consecutive_runs_share_the_model_and_the_data(
    few: list[Unit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    for name in ("open_backbone", "open_tasks"):
        real = getattr(worker.Experiment, name)
        counted = lambda self, name=name, real=real: opened.append(name) or real(self)  # noqa: E731
        monkeypatch.setattr(worker.Experiment, name, counted)
    sweep([unit for unit in few if unit.experiment.protocol == "few_shot"], tmp_path, SINGLE, quiet=True)
    assert sorted(opened) == ["open_backbone", "open_tasks"]


def test_without_ray_it_runs_in_order_and_warns(
    few: list[Unit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive, "installed", lambda: False)
    with pytest.warns(VlpromptWarning, match=r"one after the other in one process.*vlprompt\[sweep\]"):
        swept = sweep(few[:1], tmp_path, WorkerPool(workers=2), quiet=True)
    assert len(swept.results) == 1
    with pytest.raises(VlpromptError, match="no cluster can be joined"):
        sweep(few[:1], tmp_path, WorkerPool(address="127.0.0.1:1"), quiet=True)


@pytest.mark.parametrize("flags", [["--workers", "-1"], ["--threads", "0"], ["--gpus", "-1"]])
def test_numbers_out_of_range_are_refused(flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["sweep", str(tmp_path / "few.toml"), *flags])
    assert stop.value.code == 2
    assert "threads must be 1 or more" in capsys.readouterr().err


def test_results_are_in_the_order_of_the_grid(few: list[Unit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables do not depend on the order in which workers finish."""
    reports: Callable[..., object] = drive._reports

    def backwards(*given: object, **more: object) -> object:
        yield from reversed(list(reports(*given, **more)))

    chosen = [unit for unit in few if unit.experiment.protocol == "few_shot"]
    first = sweep(chosen, tmp_path, SINGLE, quiet=True)
    monkeypatch.setattr(drive, "_reports", backwards)
    assert sweep(chosen, tmp_path, SINGLE, quiet=True) == first
