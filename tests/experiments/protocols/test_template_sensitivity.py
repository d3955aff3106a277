"""Template sensitivity: a run for every template and set of words, mean and deviation, and what is refused."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import vlprompt as vp
from vlprompt.data import catalog
from vlprompt.data.features import FeatureStore
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.experiments.protocols import template_sensitivity
from vlprompt.experiments.results import Result
from vlprompt.experiments.results_file import read
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.spec import LearnerSpec
from vlprompt.report.sensitivity import sensitivity_table

RIGHT, NEUTRAL = (("terrible",), ("great",)), (("dog",), ("cat", "cow"))
TEMPLATES = ("{text} it was {mask} .", "{text} really {mask} .")


@pytest.fixture(scope="module")
def task() -> Task:
    task = catalog.load_task("reviews")
    return replace(task, test=task.test[:100])


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    training = {"epochs": 1, "lr": 1e-3, "batch_size": 4}
    return Runner(vp.load_lm("tiny"), tmp_path, FeatureStore(tmp_path / "store"), training, quiet=True)


def run(runner: Runner, task: Task, *names: str, seeds: Sequence[int] = (1, 2)) -> list[Result]:
    specs = [LearnerSpec.parse(name, {"prompt_tuning": {"length": 2}}) for name in names]
    return list(template_sensitivity.run(runner, task, specs, TEMPLATES, (RIGHT, RIGHT[::-1], NEUTRAL), 2, seeds))


def test_every_pair_is_evaluated_and_swapped_words_invert_the_answers(runner: Runner, task: Task) -> None:
    found = run(runner, task, "hard_prompt")
    assert [(r.config["template"], r.seed, r.shots) for r in found] == [(t, 0, 0) for t in TEMPLATES for _ in range(3)]
    right, swapped, neutral = (r.metrics["top1"] for r in found[:3])
    assert right == 1 - swapped
    assert swapped < 0.5 < right
    assert swapped < neutral < right
    assert len(read(runner.results_file)) == 6
    assert len({r.key for r in found}) == 6
    again = run(runner, task, "hard_prompt")
    assert [r.to_json() for r in again] == [r.to_json() for r in found], "a run with a result is not repeated"


def test_the_table_shows_mean_and_deviation(runner: Runner, task: Task) -> None:
    zero, few = run(runner, task, "hard_prompt"), run(runner, task, "prompt_tuning")
    assert len(few) == 12
    hard, trained = sensitivity_table([*zero, *few], "markdown").split("\n\nreviews, prompt_tuning")
    p = zero[0].metrics["top1"]
    assert f"| {TEMPLATES[0]} | {100 * p:.1f} ± {100 * math.sqrt(p * (1 - p) / 100):.1f} |" in hard
    assert "| template | terrible/great | great/terrible | dog/cat,cow |" in hard
    assert "deviation over 100 rows; chance is 50.0" in hard
    cell = [r.metrics["top1"] for r in few if r.config["words"] == zero[1].config["words"]][:2]
    assert f"{100 * statistics.fmean(cell):.1f} ± {100 * statistics.stdev(cell):.1f}" in trained
    assert "2 shots, deviation over seeds" in trained


def test_by_default_the_wording_of_the_task_and_its_reverse_are_tried(runner: Runner, task: Task) -> None:
    found = list(template_sensitivity.run(runner, task, [LearnerSpec.parse("hard_prompt")]))
    assert len(found) == 2 * len(task.templates)


@pytest.mark.parametrize(
    ("name", "wording", "message"),
    [
        ("coop", {}, "coop has no template and label words"),
        ("hard_prompt", {"words": [RIGHT, (("computer",), ("great",))]}, "not in the vocabulary"),
        ("hard_prompt", {"templates": ["{text} it was"]}, r"no \{mask\}"),
    ],
)
def test_impossible_wording_is_refused_before_anything_runs(
    name: str, wording: dict[str, list[object]], message: str, runner: Runner, task: Task
) -> None:
    with pytest.raises(UsageError, match=message):
        list(template_sensitivity.run(runner, task, [LearnerSpec.parse(name)], **wording))
    assert not runner.results_file.exists()
