"""A sweep in one process: what fails is kept and the rest goes on, what is done is not done again."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from vlprompt import cli
from vlprompt.errors import VlpromptError, VlpromptWarning
from vlprompt.results import Result, read
from vlprompt.runner import Bench
from vlprompt.sweep import drive, worker
from vlprompt.sweep.cluster import Crew
from vlprompt.sweep.drive import sweep
from vlprompt.sweep.plan import Unit, read_sweep, units

FEW = """
protocol = ["few_shot", "base_to_new"]
task = "photos"
learners = ["coop", "linear_probe"]
shots = 1
seeds = [1, 2]
set.train = { augment = "none", epochs = 1 }
set.coop.n_ctx = 2
"""
ALONE = Crew(workers=1)


@pytest.fixture
def few(photos: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Unit]:
    """Eight runs, of which the two of a linear probe on new classes must fail."""
    monkeypatch.chdir(photos)
    monkeypatch.setenv("VLPROMPT_CACHE", environment["VLPROMPT_CACHE"])
    monkeypatch.setattr("warnings.showwarning", None)  # the command line sets it; put it back afterwards
    (tmp_path / "few.toml").write_text(FEW)
    return units(read_sweep(tmp_path / "few.toml"))


def test_what_fails_is_kept_and_the_rest_goes_on(few: list[Unit], tmp_path: Path) -> None:
    swept = sweep(few, tmp_path, ALONE, quiet=True)
    assert len(swept.results) == 6
    assert {(r.protocol, r.learner) for r in swept.results} == {
        ("few_shot", "coop"),
        ("few_shot", "linear_probe"),
        ("base_to_new", "coop"),
    }
    assert [line.partition(":")[0] for line in swept.failures] == [
        f"base_to_new photos linear_probe 1 shot seed {seed} augment=none epochs=1" for seed in (1, 2)
    ]
    kept = [json.loads(line) for line in (tmp_path / "failures.jsonl").read_text().splitlines()]
    assert len(kept) == 2
    assert "not trained for" in kept[0]["error"]
    assert kept[0]["unit"]["experiment"]["seeds"] == [1]
    again = sweep([unit for unit in few if "linear" not in unit.label], tmp_path, ALONE, quiet=True)
    assert not again.failures
    assert not (tmp_path / "failures.jsonl").exists(), "it says what failed last"
    assert len(read(tmp_path / "results.jsonl")) == 6, "what has a result is not run again"


def test_the_command_tells_of_every_failure_in_a_line(
    few: list[Unit], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sweep", str(tmp_path / "few.toml"), "--out", str(tmp_path / "runs"), "--workers", "1"]
    cli.main([*command, "--list"])
    assert len(capsys.readouterr().out.splitlines()) == len(few)
    assert not (tmp_path / "runs").exists()
    with pytest.raises(SystemExit) as stop:
        cli.main(command)
    assert stop.value.code == 1
    said = capsys.readouterr()
    assert said.err.count("\nvlprompt: failed: base_to_new photos linear_probe") == 2
    assert "2 of 8 runs failed" in said.err
    assert "8 of 8 runs done, 2 failed" in said.err
    assert "coop (n_ctx=2)" in said.out
    with pytest.raises(SystemExit):
        cli.main([*command, "--json"])
    assert len([Result.from_json(line) for line in capsys.readouterr().out.splitlines()]) == 6


def test_an_error_of_the_code_has_its_trace(few: list[Unit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Bench.run

    def breaks(self: Bench, *given: object, **more: object) -> Result:
        if more["seed"] == 2:
            raise ZeroDivisionError("a fault\nof the code")
        return run(self, *given, **more)

    monkeypatch.setattr(Bench, "run", breaks)
    swept = sweep([unit for unit in few if unit.experiment.protocol == "few_shot"], tmp_path, ALONE, quiet=True)
    assert len(swept.results) == 2
    assert all(line.endswith("ZeroDivisionError: a fault") for line in swept.failures)
    assert "in breaks" in json.loads((tmp_path / "failures.jsonl").read_text().splitlines()[0])["trace"]


def test_data_that_is_not_there_fails_its_own_runs_only(few: list[Unit], tmp_path: Path) -> None:
    away = replace(few[0], experiment=replace(few[0].experiment, task="nowhere"))
    swept = sweep([away, few[0]], tmp_path, ALONE, quiet=True)
    assert len(swept.results) == 1
    assert "no folder nowhere" in swept.failures[0]


def test_one_model_and_one_reading_of_data_for_runs_in_a_row(
    few: list[Unit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    for name in ("open_backbone", "open_tasks"):
        real = getattr(worker.Experiment, name)
        noted = lambda self, name=name, real=real: opened.append(name) or real(self)  # noqa: E731
        monkeypatch.setattr(worker.Experiment, name, noted)
    sweep([unit for unit in few if unit.experiment.protocol == "few_shot"], tmp_path, ALONE, quiet=True)
    assert sorted(opened) == ["open_backbone", "open_tasks"]


def test_without_ray_it_runs_in_order_and_says_so(
    few: list[Unit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive, "installed", lambda: False)
    with pytest.warns(VlpromptWarning, match=r"one after the other in one process.*vlprompt\[sweep\]"):
        swept = sweep(few[:1], tmp_path, Crew(workers=2), quiet=True)
    assert len(swept.results) == 1
    with pytest.raises(VlpromptError, match="no cluster can be joined"):
        sweep(few[:1], tmp_path, Crew(address="127.0.0.1:1"), quiet=True)


@pytest.mark.parametrize("flags", [["--workers", "-1"], ["--threads", "0"], ["--gpus", "-1"]])
def test_numbers_that_make_no_sense(flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["sweep", str(tmp_path / "few.toml"), *flags])
    assert stop.value.code == 2
    assert "threads must be 1 or more" in capsys.readouterr().err


def test_progress_says_how_long_the_rest_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(drive, "time", SimpleNamespace(monotonic=lambda: now[0]))
    stream = io.StringIO()
    progress = drive._Progress(100, stream=stream)
    for number in range(61):
        now[0] += 6.0
        progress.step(failed=number == 3)
    said = stream.getvalue().splitlines()
    assert len(said) == 31, "a line in ten seconds at most"
    assert said[-1] == "61 of 100 runs done, 1 failed, about 4 minutes left"
    now[0] += 6.0
    quick = drive._Progress(1, stream=stream)
    quick.step(failed=False)
    assert stream.getvalue().splitlines()[-1] == "1 of 1 runs done"


@pytest.mark.parametrize(
    ("seconds", "said"), [(5, "5 seconds"), (150, "2 minutes"), (9000, "2 hours"), (3e5, "3 days")]
)
def test_durations_are_told_in_fitting_units(seconds: float, said: str) -> None:
    assert drive._duration(seconds) == said


def test_outcomes_are_in_the_order_of_the_grid(
    few: list[Unit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the workers finish, tables look the same."""
    done: Callable[..., object] = drive._done

    def backwards(*given: object, **more: object) -> object:
        yield from reversed(list(done(*given, **more)))

    chosen = [unit for unit in few if unit.experiment.protocol == "few_shot"]
    first = sweep(chosen, tmp_path, ALONE, quiet=True)
    monkeypatch.setattr(drive, "_done", backwards)
    assert sweep(chosen, tmp_path, ALONE, quiet=True) == first
