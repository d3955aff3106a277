"""The command runs what has no result, saves results, skips what is not on this machine, and reports errors."""

from typing import Any

import pytest

from vlprompt.experiments import runner
from vlprompt.learner import PromptLearner


def test_only_runs_without_a_result_are_executed(
    place: Any, small: str, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    place.write("small", small.replace("[1, 2]", "[1]"))
    assert place.command() == 0
    assert trained == ["zero_shot 69", "coop 1"]
    first = capsys.readouterr().out
    assert "results in benchmarks/results/small.jsonl: 2, 2 of them new" in first
    assert place.command("small") == 0
    assert len(trained) == 2, "no run is repeated"
    assert capsys.readouterr().out == first.replace("2 of them new", "0 of them new")

    place.write("small", small)
    assert place.command() == 0
    assert trained[2:] == ["coop 2"], "one more number of shots, one more run"
    saved = place.results("small")
    assert [(r.learner, r.shots) for r in saved] == [("zero_shot", 0), ("coop", 1), ("coop", 2)]
    assert saved[1].config["n_ctx"] == 2
    assert saved[1].train_config["epochs"] == 1
    table = capsys.readouterr().out
    assert all(f"{100 * result.metrics['top1']:.1f}" in table for result in saved)
    assert (place.root / "benchmarks/results/small.png").read_bytes().startswith(b"\x89PNG")

    place.write("small", small.replace("n_ctx = 2", "n_ctx = 3"))
    assert place.command() == 0
    assert trained[3:] == ["coop 1", "coop 2"], "other settings are other runs"
    assert place.command("--fresh") == 0
    assert len(place.results("small")) == 8, "results are appended, never overwritten"
    assert (place.root / "runs/benchmarks/small/prompts/few_shot/digits").is_dir()
    assert not (place.root / "runs/benchmarks/small/results.jsonl").exists()


def test_an_interrupted_experiment_continues(
    place: Any, small: str, trained: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place.write("small", small)
    evaluate = runner.evaluate

    def interrupted(learner: PromptLearner, *others: object, **more: object) -> object:
        if trained == ["zero_shot 69", "coop 1"]:
            raise KeyboardInterrupt
        return evaluate(learner, *others, **more)

    monkeypatch.setattr(runner, "evaluate", interrupted)
    assert place.command() == 130
    assert "run the same command again to continue" in capsys.readouterr().err
    assert [r.learner for r in place.results("small")] == ["zero_shot"]
    assert place.command() == 0
    assert trained[2:] == ["coop 1", "coop 2"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ('root = "$NO_SUCH_VARIABLE/data"', "NO_SUCH_VARIABLE"),
        ('backbone = "local-dir:$NOWHERE/lit"', "there is no folder /nowhere/lit"),
        ('backbone = "ViT-B-61"', "did you mean 'ViT-B-16"),
    ],
)
def test_what_is_not_on_this_machine_is_skipped_with_the_reason(
    change: str,
    reason: str,
    place: Any,
    small: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("NOWHERE", "/nowhere")
    place.write("away", f"{change}\n{small}")
    assert place.command() == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("skipped: ")]
    assert reason in line
    assert not (place.root / "benchmarks").exists()


def test_saved_results_are_shown_where_the_data_is_missing(
    place: Any, small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place.write("small", small)
    assert place.command() == 0
    table = capsys.readouterr().out.split("small\n")[1].rpartition("results in")[0]
    place.write("small", small.replace('"digits"', '"caltech101"') + 'root = "/nowhere"\n')
    assert place.command() == 0
    out = capsys.readouterr().out
    assert "skipped: missing folder /nowhere/caltech-101" in out
    assert table in out


def test_a_mistake_in_one_file_stops_everything_before_the_first_run(
    place: Any, small: str, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    place.write("good", small)
    place.write("wrong", small.replace("learners", "learner"))
    assert place.command() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: wrong.toml")
    assert not trained


def test_a_failed_experiment_does_not_stop_the_others(
    place: Any, small: str, small_base_to_new: str, capsys: pytest.CaptureFixture[str]
) -> None:
    learners, settings = 'learners = ["zero_shot", "coop"]', ", coop = { n_ctx = 2 }"
    for name, text, learner in (("a", small_base_to_new, "linear_probe"), ("b", small, "zero_shot")):
        place.write(name, text.replace(learners, f'learners = ["{learner}"]').replace(settings, ""))
    assert place.command() == 1
    error = capsys.readouterr().err
    assert "error: a: linear_probe cannot be evaluated on classes it was not trained for" in error
    assert len(place.results("b")) == 1


def test_unknown_names_and_the_list(place: Any, small: str, capsys: pytest.CaptureFixture[str]) -> None:
    place.write("small", small)
    assert place.command("smal") == 2
    assert "did you mean 'small'" in capsys.readouterr().err
    assert place.command("--list") == 0
    assert capsys.readouterr().out.split() == ["small", "0", "results", "Small:", "one", "epoch."]
