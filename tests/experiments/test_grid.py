"""A grid of training settings: what is held out, what is chosen, and how an interrupted search continues."""

from dataclasses import replace
from pathlib import Path

import pytest

import vlprompt as vp
from tests.experiments.conftest import MakeRunner
from vlprompt.errors import UsageError
from vlprompt.experiments import grid
from vlprompt.experiments.protocols import few_shot
from vlprompt.experiments.results import Result
from vlprompt.experiments.results_file import read
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.spec import LearnerSpec

RATES = {"lr": [1e-7, 0.2], "weight_decay": [0.0]}


@pytest.fixture(scope="module")
def task() -> vp.Task:
    digits = vp.load_task("digits")
    return replace(digits, test=digits.test[::15])


@pytest.fixture
def runner(make_runner: MakeRunner) -> Runner:
    return make_runner(epochs=12, batch_size=10)


def run(runner: Runner, task: vp.Task, *names: str, tried: grid.Grid = RATES) -> list[Result]:
    specs = [LearnerSpec.parse(name) for name in names or ("linear",)]
    return list(few_shot.run(runner, task, specs, (3,), (1, 2), tried))


def test_the_best_point_on_held_out_images_trains_all_seeds(runner: Runner, task: vp.Task) -> None:
    found = run(runner, task)
    assert [each.protocol for each in found] == ["grid", "grid", "few_shot", "few_shot"]
    weak, strong, *final = found
    assert strong.metrics["top1"] > weak.metrics["top1"] + 0.1
    assert [(each.seed, each.train_config["lr"]) for each in final] == [(1, 0.2), (2, 0.2)]
    assert final[0].train_config["warmup_lr"] == pytest.approx(0.02), "a tenth, as in the recipe"
    assert {each.key for each in read(runner.results_file)} == {each.key for each in found}
    best_last = run(runner, task, tried={"lr": [0.2, 1e-7], "weight_decay": [0.0]})
    assert [each.key for each in best_last[2:]] == [each.key for each in final]


def test_test_images_are_not_used(runner: Runner, task: vp.Task) -> None:
    other = replace(task, test=task.test[:9])
    points = [[each.key for each in run(runner, t) if each.protocol == "grid"] for t in (task, other)]
    assert points[0] == points[1]


def test_an_interrupted_search_continues(runner: Runner, task: vp.Task, tmp_path: Path) -> None:
    whole = run(runner, task)
    lines = runner.results_file.read_text().splitlines(keepends=True)
    again = replace(runner, out=tmp_path / "again")
    again.out.mkdir()
    again.results_file.write_text(lines[0])
    continued = run(again, task)
    assert [(each.key, each.metrics) for each in continued] == [(each.key, each.metrics) for each in whole]
    assert len(read(again.results_file)) == len(lines)
    assert again.results_file.read_text().startswith(lines[0]), "the first point does not run again"


def test_learners_that_are_not_trained_in_epochs_are_not_searched(runner: Runner, task: vp.Task) -> None:
    assert {each.protocol for each in run(runner, task, "zero_shot", "linear_probe")} == {"few_shot"}


def test_a_fifth_of_each_class_is_held_out_without_validation_images(task: vp.Task) -> None:
    drawn = replace(task.few_shot(10, seed=1), val=())
    held = grid.held_out(drawn)
    assert not set(held.train) & set(held.test)
    assert set(held.train) | set(held.test) == set(drawn.train)
    assert sorted(example.label for example in held.test) == [label for label in range(10) for _ in range(2)]
    given = replace(drawn, val=task.test[:5])
    assert grid.held_out(given).test == task.test[:5]
    assert grid.held_out(given).train == drawn.train
    with pytest.raises(UsageError, match="2 shots or more"):
        grid.held_out(replace(task.few_shot(1, seed=1), val=()))


def test_the_first_of_equals_is_chosen(runner: Runner, task: vp.Task) -> None:
    found = run(runner, task, tried={"weight_decay": [1e-12, 0.0]})
    assert found[0].metrics["top1"] == found[1].metrics["top1"]
    assert found[2].train_config["weight_decay"] == 1e-12


def test_a_grid_is_read_from_text() -> None:
    assert grid.parse(["train.lr=0.1,1", "train.weight_decay=[0, 0.5]", "train.epochs=3"]) == {
        "lr": [0.1, 1],
        "weight_decay": [0, 0.5],
        "epochs": [3],
    }
    assert grid.parse(["train.optimizer=sgd,adam"]) == {"optimizer": ["sgd", "adam"]}
    with pytest.raises(UsageError, match=r"training settings.*coop"):
        grid.parse(["coop.n_ctx=4,8"])


@pytest.mark.parametrize(
    ("tried", "message"), [({"lrr": [1.0]}, "lr"), ({"lr": []}, "no values"), ({"lr": [0]}, "lr is 0")]
)
def test_an_impossible_search_is_refused_before_anything_runs(
    runner: Runner, task: vp.Task, tried: grid.Grid, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        run(runner, task, tried=tried)
    assert not runner.results_file.exists()
