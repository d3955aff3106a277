"""The test-time protocol on a few corrupted digits: before and after, seeds and order, what is wrapped, no labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import vlprompt as vp
from vlprompt.data.batch import Batch
from vlprompt.data.features import FeatureStore
from vlprompt.errors import UsageError, VlpromptWarning
from vlprompt.learners.base import PromptLearner, Reads, views_of
from vlprompt.learners.mta import MTA
from vlprompt.protocols import test_time as protocol
from vlprompt.report import tables
from vlprompt.results import Result, read
from vlprompt.runner import Bench, Entry

FEW = {"mta": {"views": 5}, "zero": {"views": 5}, "coop": {"n_ctx": 2}}


@pytest.fixture(scope="module")
def clip() -> vp.Clip:
    return vp.load_clip("tiny")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return FeatureStore(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def task() -> vp.Task:
    digits = vp.load_task("digits-c/noise-4")
    return replace(digits, test=digits.test[::18])


@pytest.fixture
def bench(clip: vp.Clip, store: FeatureStore, tmp_path: Path) -> Bench:
    return Bench(clip, tmp_path, store, {"epochs": 2, "augment": "none"}, quiet=True)


def run(bench: Bench, task: vp.Task, *names: str, seeds: Sequence[int] = (1, 2), shots: int = 1) -> list[Result]:
    return list(protocol.run(bench, task, [Entry.parse(name, FEW) for name in names], shots, seeds))


def test_before_is_zero_shot_and_after_is_the_method(bench: Bench, task: vp.Task, store: FeatureStore) -> None:
    zero_shot, *adapting = run(bench, task, "zero_shot", "mta", "zero", "tda", seeds=(3,))
    assert zero_shot.extra["adaptation"] == "none"
    assert "before_top1" not in zero_shot.metrics
    for result in adapting:
        assert result.metrics["before_top1"] == pytest.approx(zero_shot.metrics["top1"])
        assert result.metrics["before_ece_15_equal_width"] == pytest.approx(
            zero_shot.metrics["ece_15_equal_width"], abs=1e-4
        )
        kind = vp.learners.learner_class(result.learner)
        learner = kind.for_task(bench.backbone, task, Entry.parse(result.learner, FEW).config, seed=3)
        stream = protocol.in_stream_order(task, 3) if kind.online else task
        alone = vp.evaluate(learner, stream, store=store)
        assert result.metrics["top1"] == alone.metrics["top1"]
        assert 0 < result.extra["seconds_per_image"] < result.eval_seconds
        assert result.examples == len(task.test)
    assert [r.extra["adaptation"] for r in adapting] == ["episodic", "episodic", "online"]
    assert [r.extra["order"] for r in adapting] == ["as listed", "as listed", "shuffled by the seed"]


def test_seeds_make_the_views_and_the_order(bench: Bench, task: vp.Task) -> None:
    results = run(bench, task, "zero_shot", "mta", "tda")
    assert [(r.learner, r.seed) for r in results] == [("zero_shot", 0), ("mta", 1), ("mta", 2), ("tda", 1), ("tda", 2)]
    views, streams = results[1:3], results[3:5]
    assert views[0].metrics != views[1].metrics
    assert streams[0].metrics != streams[1].metrics
    assert views[0].split_hash == views[1].split_hash == results[0].split_hash
    again = [r.to_json() for r in run(bench, task, "mta", "tda")]
    assert again == [r.to_json() for r in results[1:]], "what has a result is not run again"
    assert protocol.in_stream_order(task, 1).test == protocol.in_stream_order(task, 1).test
    assert sorted(protocol.in_stream_order(task, 1).test, key=str) == sorted(task.test, key=str)


@dataclass(frozen=True)
class LouderConfig:
    views: int = 2


class Louder(PromptLearner[Any]):
    """A method over another: the plain view's scores of the inner learner, and twice those after adapting."""

    reads = Reads.VIEWS
    learns = False

    def __init__(self, inner: PromptLearner[Any]) -> None:
        super().__init__(inner.backbone, inner.classes, LouderConfig(), seed=inner.seed)
        self.inner = inner

    @property
    def keeps_classes(self) -> str:
        return self.inner.keeps_classes

    def forward(self, batch: Batch) -> Tensor:
        return self.inner.predict(replace(batch, features=views_of(batch)[:, 0]))

    def predict(self, batch: Batch) -> Tensor:
        return 2 * self(batch)


@pytest.fixture
def louder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MTA, "over", classmethod(lambda _, learner, config: Louder(learner)))


@pytest.mark.usefixtures("louder")
def test_a_method_over_a_trained_one(bench: Bench, task: vp.Task) -> None:
    alone, over = (run(bench, task, name, seeds=(1,))[0] for name in ("coop", "mta+coop"))
    for name, value in alone.metrics.items():
        assert over.metrics[f"before_{name}"] == pytest.approx(value, abs=1e-5), name
    assert over.metrics["top1"] == alone.metrics["top1"]
    assert over.metrics["ece_15_equal_width"] != alone.metrics["ece_15_equal_width"]
    assert (over.learner, over.variant, over.shots) == ("mta", "views=5 over coop n_ctx=2", 1)
    assert over.trainable_parameters == alone.trainable_parameters > 0
    assert over.config == {"views": 2, "over": alone.config}
    assert over.train_config == alone.train_config
    saved = next((bench.out / "prompts").glob("test_time/**/mta*/prompt.json")).parent
    assert vp.load(saved, bench.backbone).method() == "coop", "the prompt that was trained is kept"


def test_what_cannot_be_wrapped_is_refused_before_anything_runs(bench: Bench, task: vp.Task) -> None:
    with pytest.raises(UsageError, match="mta works on class names in templates, not on what coop has learned"):
        run(bench, task, "zero_shot", "mta+coop")
    with pytest.raises(UsageError, match="coop cannot adapt zero_shot"):
        run(bench, task, "zero_shot", "coop+zero_shot")
    with pytest.raises(UsageError, match="unknown learner ''"):
        run(bench, task, "mta+")
    assert not bench.results_file.exists()


def test_a_frozen_head_over_another_takes_its_templates(bench: Bench, task: vp.Task) -> None:
    ensemble = Entry.parse("mta+zero_shot:ensemble", FEW)
    learner = ensemble.around(ensemble.parts[-1].kind.for_task(bench.backbone, task, ensemble.parts[-1].config))
    assert len(learner.templates) == 8
    assert ensemble.label == "mta views=5 over zero_shot ensemble"
    assert not ensemble.learns
    assert learner.follows_task


def test_without_labels_there_are_predictions_and_no_accuracy(bench: Bench, task: vp.Task) -> None:
    bare = replace(task, test=tuple(replace(example, label=-1) for example in task.test))
    with pytest.warns(VlpromptWarning, match=r"digits-c/noise-4: no test image has a label.*predictions are in .*csv"):
        results = run(bench, bare, "zero_shot", "mta", seeds=(1,))
    assert [result.metrics for result in results] == [{}, {}]
    assert [r.metrics for r in read(bench.results_file)] == [{}, {}]
    table = tables.stream_table(results, "markdown")
    assert "no label is known" in table
    assert "| mta (views=5), episodic | – | – | – | – | – | 0." in table


def test_no_shots_are_refused(bench: Bench, task: vp.Task) -> None:
    with pytest.raises(UsageError, match="shots must be 1 or more, 0 was given"):
        run(bench, task, "zero_shot", shots=0)


def test_episodic_answers_do_not_depend_on_order_or_batch(
    bench: Bench, task: vp.Task, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method in ("mta", "zero"):
        entry = Entry.parse(method, FEW)
        learner = entry.kind.for_task(bench.backbone, task, entry.config)
        listed = vp.evaluate(learner, task, store=store).scores
        backwards = vp.evaluate(learner, replace(task, test=task.test[::-1]), store=store).scores
        assert torch.allclose(backwards.flip(0), listed, atol=1e-4)
        monkeypatch.setattr("vlprompt.feed.TEST_BATCH", 1)
        assert torch.allclose(vp.evaluate(learner, task, store=store).scores, listed, atol=1e-4)
        monkeypatch.setattr("vlprompt.feed.TEST_BATCH", 100)
