"""The test-time protocol on a few corrupted digits: before and after, seeds and order, wrapped prompts, no labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

import vlprompt as vp
from tests.experiments.conftest import MakeRunner
from vlprompt import methods
from vlprompt.data.batch import Batch, views_of
from vlprompt.data.features import FeatureStore
from vlprompt.data.needs import Input, Needs
from vlprompt.errors import UsageError, VlpromptWarning
from vlprompt.experiments.protocols import test_time as protocol
from vlprompt.experiments.results import Result
from vlprompt.experiments.results_file import read
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.spec import LearnerSpec
from vlprompt.learner import PromptLearner
from vlprompt.learners.mta import MTA
from vlprompt.report import tables

FEW = {"mta": {"views": 5}, "zero": {"views": 5}, "coop": {"n_ctx": 2}}


@pytest.fixture(scope="module")
def task() -> vp.Task:
    digits = vp.load_task("digits-c/noise-4")
    return replace(digits, test=digits.test[::18])


@pytest.fixture
def runner(make_runner: MakeRunner) -> Runner:
    return make_runner(epochs=2)


def run(runner: Runner, task: vp.Task, *names: str, seeds: Sequence[int] = (1, 2), shots: int = 1) -> list[Result]:
    return list(protocol.run(runner, task, [LearnerSpec.parse(name, FEW) for name in names], shots, seeds))


def test_before_is_zero_shot_and_after_is_the_method(runner: Runner, task: vp.Task, store: FeatureStore) -> None:
    zero_shot, *adapting = run(runner, task, "zero_shot", "mta", "zero", "tda", seeds=(3,))
    assert zero_shot.extra["adaptation"] == "none"
    assert "before_top1" not in zero_shot.metrics
    for result in adapting:
        assert result.metrics["before_top1"] == pytest.approx(zero_shot.metrics["top1"])
        assert result.metrics["before_ece_15_equal_width"] == pytest.approx(
            zero_shot.metrics["ece_15_equal_width"], abs=1e-4
        )
        spec = LearnerSpec.parse(result.learner, FEW)
        learner = methods.learner_class(result.learner).for_task(runner.backbone, task, spec.config, seed=3)
        stream = protocol.in_stream_order(task, 3) if spec.online else task
        alone = vp.evaluate(learner, stream, store=store)
        assert result.metrics["top1"] == alone.metrics["top1"]
        assert 0 < result.extra["seconds_per_image"] < result.eval_seconds
        assert result.examples == len(task.test)
    assert [r.extra["adaptation"] for r in adapting] == ["episodic", "episodic", "online"]
    assert [r.extra["order"] for r in adapting] == ["as listed", "as listed", "shuffled by the seed"]


def test_seeds_change_the_views_and_the_order(runner: Runner, task: vp.Task) -> None:
    results = run(runner, task, "zero_shot", "mta", "tda")
    assert [(r.learner, r.seed) for r in results] == [("zero_shot", 0), ("mta", 1), ("mta", 2), ("tda", 1), ("tda", 2)]
    views, streams = results[1:3], results[3:5]
    assert views[0].metrics != views[1].metrics
    assert streams[0].metrics != streams[1].metrics
    assert views[0].split_hash == views[1].split_hash == results[0].split_hash
    again = [r.to_json() for r in run(runner, task, "mta", "tda")]
    assert again == [r.to_json() for r in results[1:]], "a run with a result is not repeated"
    assert protocol.in_stream_order(task, 1).test == protocol.in_stream_order(task, 1).test
    assert sorted(protocol.in_stream_order(task, 1).test, key=str) == sorted(task.test, key=str)


@dataclass(frozen=True)
class LouderConfig:
    views: int = 2


class Louder(PromptLearner[vp.Clip, LouderConfig]):
    """Wraps another method: before adapting its scores of the plain view, after adapting twice those scores."""

    Config = LouderConfig
    needs = Needs(input=Input.VIEWS, trains=False)

    def __init__(self, inner: PromptLearner[Any, Any]) -> None:
        super().__init__(inner.backbone, inner.classes, seed=inner.seed)
        self.inner = inner
        self.why_classes_fixed = inner.why_classes_fixed

    def forward(self, batch: Batch) -> Tensor:
        return self.inner.predict(replace(batch, features=views_of(batch)[:, 0]))

    def predict(self, batch: Batch) -> Tensor:
        return 2 * self(batch)


@pytest.fixture
def louder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MTA, "over", classmethod(lambda _, learner, config: Louder(learner)))


@pytest.mark.usefixtures("louder")
def test_a_method_wraps_a_trained_learner(runner: Runner, task: vp.Task) -> None:
    alone, wrapped = (run(runner, task, name, seeds=(1,))[0] for name in ("coop", "mta+coop"))
    for name, value in alone.metrics.items():
        assert wrapped.metrics[f"before_{name}"] == pytest.approx(value, abs=1e-5), name
    assert wrapped.metrics["top1"] == alone.metrics["top1"]
    assert wrapped.metrics["ece_15_equal_width"] != alone.metrics["ece_15_equal_width"]
    assert (wrapped.learner, wrapped.variant, wrapped.shots) == ("mta", "views=5 over coop n_ctx=2", 1)
    assert wrapped.trainable_parameters == alone.trainable_parameters > 0
    assert wrapped.config == {"views": 2, "over": alone.config}
    assert wrapped.train_config == alone.train_config
    saved = next((runner.out / "prompts").glob("test_time/**/mta*/prompt.json")).parent
    assert vp.load(saved, runner.backbone).method() == "coop", "the prompt that was trained is saved"


def test_an_impossible_wrapping_is_refused_before_anything_runs(runner: Runner, task: vp.Task) -> None:
    with pytest.raises(UsageError, match=r"mta .*coop"):
        run(runner, task, "zero_shot", "mta+coop")
    with pytest.raises(UsageError, match="coop cannot wrap zero_shot"):
        run(runner, task, "zero_shot", "coop+zero_shot")
    with pytest.raises(UsageError, match="unknown learner ''"):
        run(runner, task, "mta+")
    assert not runner.results_file.exists()


def test_a_frozen_head_uses_the_templates_of_the_one_that_it_wraps(runner: Runner, task: vp.Task) -> None:
    spec = LearnerSpec.parse("mta+zero_shot:ensemble", FEW)
    learner = spec.wrap(spec.trained.kind.for_task(runner.backbone, task, spec.trained.config))
    assert len(learner.templates) == 8
    assert spec.label == "mta views=5 over zero_shot ensemble"
    assert not spec.trains
    assert learner.follows_task


def test_without_labels_there_are_predictions_and_no_accuracy(runner: Runner, task: vp.Task) -> None:
    bare = replace(task, test=tuple(replace(example, label=-1) for example in task.test))
    with pytest.warns(VlpromptWarning, match=r"digits-c/noise-4: no test image has a label.*predictions are in .*csv"):
        results = run(runner, bare, "zero_shot", "mta", seeds=(1,))
    assert [result.metrics for result in results] == [{}, {}]
    assert [r.metrics for r in read(runner.results_file)] == [{}, {}]
    table = tables.stream_table(results, "markdown")
    assert "the images have no labels" in table
    assert "| mta (views=5), episodic | – | – | – | – | – | 0." in table


def test_no_shots_are_refused(runner: Runner, task: vp.Task) -> None:
    with pytest.raises(UsageError, match="shots must be 1 or more, 0 was given"):
        run(runner, task, "zero_shot", shots=0)


def test_episodic_answers_do_not_depend_on_order_or_batch(
    runner: Runner, task: vp.Task, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method in ("mta", "zero"):
        spec = LearnerSpec.parse(method, FEW)
        learner = spec.kind.for_task(runner.backbone, task, spec.config)
        listed = vp.evaluate(learner, task, store=store).scores
        backwards = vp.evaluate(learner, replace(task, test=task.test[::-1]), store=store).scores
        assert torch.allclose(backwards.flip(0), listed, atol=1e-4)
        monkeypatch.setattr("vlprompt.data.feed.TEST_BATCH", 1)
        assert torch.allclose(vp.evaluate(learner, task, store=store).scores, listed, atol=1e-4)
        monkeypatch.setattr("vlprompt.data.feed.TEST_BATCH", 100)
