"""A stream that is evaluated in shards gives exactly the result of one process, in any order of the shards."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import vlprompt as vp
from tests.experiments.conftest import MakeRunner
from vlprompt.data import feed
from vlprompt.experiments import runner as runners
from vlprompt.experiments.protocols import test_time
from vlprompt.experiments.results import Result
from vlprompt.experiments.results_file import read
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.shards import Shard, ShardsMissingError
from vlprompt.experiments.spec import LearnerSpec

SETTINGS = {"tpt": {"views": 12}, "coop": {"n_ctx": 2}}


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten images in a batch."""
    monkeypatch.setattr(feed, "TEST_BATCH", 10)


@pytest.fixture(scope="module")
def task() -> vp.Task:
    digits = vp.load_task("digits")
    return replace(digits, test=digits.test[:45])


@pytest.fixture
def runner(make_runner: MakeRunner) -> Runner:
    return make_runner(epochs=2)


def stream(runner: Runner, task: vp.Task, name: str) -> Result:
    (result,) = test_time.run(runner, task, [LearnerSpec.parse(name, SETTINGS)], shots=1, seeds=(1,))
    return result


@pytest.mark.parametrize("name", ["tpt", "tpt+coop", "zero_shot"])
def test_shards_together_equal_the_whole(name: str, runner: Runner, task: vp.Task, tmp_path: Path) -> None:
    whole = stream(replace(runner, out=tmp_path / "whole"), task, name)
    divided = replace(runner, out=tmp_path / "divided")
    for number in (2, 0):
        with pytest.raises(ShardsMissingError):
            stream(replace(divided, shard=Shard(number, 3)), task, name)
    assert not divided.results_file.exists()
    result = stream(replace(divided, shard=Shard(1, 3)), task, name)
    assert result.metrics == whole.metrics
    assert result.key == whole.key
    assert result.examples == whole.examples == 45
    assert read(divided.results_file) == [result]
    assert stream(replace(divided, shard=Shard(0, 3)), task, name) == result, "a run with a result is not repeated"
    left = list((tmp_path / "divided" / "unfinished").iterdir())
    assert all(file.stat().st_size == 0 for file in left), "only lock files are left"
    assert {file.suffix for file in left} <= {".joining", ".training"}
    if name != "zero_shot":
        assert "before_top1" in result.metrics


def test_a_wrapped_prompt_is_trained_once(runner: Runner, task: vp.Task, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[int] = []
    fit = runners.fit
    monkeypatch.setattr(runners, "fit", lambda *given, **more: trained.append(1) or fit(*given, **more))
    for number in range(2):
        with pytest.raises(ShardsMissingError):
            stream(replace(runner, shard=Shard(number, 3)), task, "tpt+coop")
    stream(replace(runner, shard=Shard(2, 3)), task, "tpt+coop")
    assert trained == [1]


def test_a_stored_shard_is_not_evaluated_again(runner: Runner, task: vp.Task, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated: list[int] = []
    evaluate = runners.evaluate
    counted = lambda learner, task, **more: evaluated.append(len(task.test)) or evaluate(learner, task, **more)  # noqa: E731
    monkeypatch.setattr(runners, "evaluate", counted)
    for number in (0, 0, 1):
        with pytest.raises(ShardsMissingError):
            stream(replace(runner, shard=Shard(number, 3)), task, "tpt")
    assert evaluated == [10, 10, 20, 20], "before and after, once each"


def test_shards_are_whole_batches_and_cover_everything(clip: vp.Clip, task: vp.Task) -> None:
    learner = vp.learners.TPT(clip, task.classes, vp.learners.TPTConfig(views=12))

    def items(count: int) -> Iterator[int]:
        for number in range(count):
            part = Shard(number, count).of(learner, task).test
            assert number == count - 1 or len(part) % 10 == 0
            yield from (example.item for example in part)

    for count in (1, 2, 3, 5):
        assert list(items(count)) == [example.item for example in task.test]
    assert Shard(3, 50).limited(learner, task) == Shard(3, 5)
    with pytest.raises(ShardsMissingError):
        Shard(5, 50).limited(learner, task)
