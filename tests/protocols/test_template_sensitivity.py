"""Template sensitivity: a run for every template and set of words, mean and deviation, what is refused."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import vlprompt as vp
from vlprompt.cli import main
from vlprompt.data import Task, catalog
from vlprompt.data.features import FeatureStore
from vlprompt.errors import UsageError
from vlprompt.protocols import template_sensitivity as protocol
from vlprompt.report.sensitivity import sensitivity_table
from vlprompt.results import Result, read
from vlprompt.runner import Bench, Entry

RIGHT, NEUTRAL = (("terrible",), ("great",)), (("dog",), ("cat", "cow"))
TEMPLATES = ("{text} it was {mask} .", "{text} really {mask} .")


@pytest.fixture(scope="module")
def task() -> Task:
    task = catalog.load_task("reviews")
    return replace(task, test=task.test[:100])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    training = {"epochs": 1, "lr": 1e-3, "batch_size": 4}
    return Bench(vp.load_lm("tiny"), tmp_path, FeatureStore(tmp_path / "store"), training, quiet=True)


def run(bench: Bench, task: Task, *names: str, seeds: Sequence[int] = (1, 2)) -> list[Result]:
    entries = [Entry.parse(name, {"prompt_tuning": {"length": 2}}) for name in names]
    return list(protocol.run(bench, task, entries, TEMPLATES, (RIGHT, RIGHT[::-1], NEUTRAL), 2, seeds))


def test_every_pair_is_judged_and_swapped_words_turn_the_answers_round(bench: Bench, task: Task) -> None:
    found = run(bench, task, "hard_prompt")
    assert [(r.config["template"], r.seed, r.shots) for r in found] == [(t, 0, 0) for t in TEMPLATES for _ in range(3)]
    right, swapped, neutral = (r.metrics["top1"] for r in found[:3])
    assert right == 1 - swapped
    assert swapped < 0.5 < right
    assert swapped < neutral < right
    assert len(read(bench.results_file)) == 6
    assert len({r.key for r in found}) == 6
    again = run(bench, task, "hard_prompt")
    assert [r.to_json() for r in again] == [r.to_json() for r in found], "what has a result is not run again"


def test_the_table_shows_mean_and_deviation(bench: Bench, task: Task) -> None:
    zero, few = run(bench, task, "hard_prompt"), run(bench, task, "prompt_tuning")
    assert len(few) == 12
    hard, trained = sensitivity_table([*zero, *few], "markdown").split("\n\nreviews, prompt_tuning")
    p = zero[0].metrics["top1"]
    assert f"| {TEMPLATES[0]} | {100 * p:.1f} ± {100 * math.sqrt(p * (1 - p) / 100):.1f} |" in hard
    assert "| template | terrible/great | great/terrible | dog/cat,cow |" in hard
    assert "deviation over 100 rows; chance is 50.0" in hard
    cell = [r.metrics["top1"] for r in few if r.config["words"] == zero[1].config["words"]][:2]
    assert f"{100 * statistics.fmean(cell):.1f} ± {100 * statistics.stdev(cell):.1f}" in trained
    assert "2 shots, deviation over seeds" in trained


def test_without_anything_given_the_tasks_wording_and_its_reverse_are_tried(bench: Bench, task: Task) -> None:
    found = list(protocol.run(bench, task, [Entry.parse("hard_prompt")]))
    assert len(found) == 2 * len(task.templates)


def test_what_has_no_wording_or_cannot_be_worded_is_refused_before_anything_runs(bench: Bench, task: Task) -> None:
    with pytest.raises(UsageError, match="coop has no template and label words"):
        list(protocol.run(bench, task, [Entry.parse("coop")]))
    with pytest.raises(UsageError, match="not in the vocabulary"):
        list(protocol.run(bench, task, [Entry.parse("hard_prompt")], words=[RIGHT, (("computer",), ("great",))]))
    with pytest.raises(UsageError, match=r"no \{mask\}"):
        list(protocol.run(bench, task, [Entry.parse("hard_prompt")], ["{text} it was"]))
    assert not bench.results_file.exists()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warnings.showwarning", None)
    flags = ["sensitivity", "--out", str(tmp_path), "--templates", TEMPLATES[0], "--word-sets"]
    main([*flags, "bad good", "cat dog"])
    assert "bad/good" in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        main([*flags, "bad good fine"])
    assert caught.value.code == 2
    assert "has words for 3 classes; reviews has negative, positive" in capsys.readouterr().err
