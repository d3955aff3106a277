"""`vlprompt report --paper`: our results next to published numbers."""

from pathlib import Path

import pytest

from vlprompt import cli
from vlprompt.experiments.results import Result
from vlprompt.experiments.results_file import append
from vlprompt.experiments.statistics import harmonic_mean

FILE = Path(__file__).parents[2] / "benchmarks" / "paper.toml"


def base_to_new(task: str = "caltech101") -> Result:
    metrics = {"base_top1": 0.9, "new_top1": 0.8, "harmonic_mean": harmonic_mean(0.9, 0.8)}
    return Result(
        protocol="base_to_new",
        learner="coop",
        variant="cocoop-paper",
        backbone="ViT-B-16/openai",
        fingerprint="f" * 16,
        task=task,
        split_hash=task,
        classes=100,
        shots=16,
        seed=1,
        metrics=metrics,
    )


def report(*arguments: str) -> None:
    cli.main(["report", *arguments])


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("warnings.showwarning", None)  # main sets it; put it back afterwards
    append(tmp_path / "results.jsonl", base_to_new())
    return tmp_path / "results.jsonl"


def test_published_numbers_follow_the_tables(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report(str(results))
    alone = capsys.readouterr().out
    report(str(results), "--paper", str(FILE))
    both = capsys.readouterr().out
    assert both.startswith(alone), "the other tables do not change"
    assert "paper: CoOp, 16 shots" in both
    report(str(results), "--paper", str(FILE), "--form", "latex")
    assert capsys.readouterr().out.count(r"\toprule") == 2


def test_a_line_states_that_nothing_matches(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results.write_text(base_to_new("digits").to_json() + "\n")
    report(str(results), "--paper", str(FILE))
    assert f"{FILE} has no numbers of the protocols, tasks, methods and shots in {results}" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, "table = 3", "[[table]\n"])
def test_a_bad_file_is_a_one_line_error(content: str | None, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = results.with_name("paper.toml")
    if content is not None:
        file.write_text(content)
    with pytest.raises(SystemExit) as stop:
        report(str(results), "--paper", str(file))
    assert stop.value.code == 1
    said = capsys.readouterr()
    assert not said.out
    (line,) = said.err.splitlines()
    assert line.startswith(f"vlprompt: {file}")
