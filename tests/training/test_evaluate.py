"""evaluate: unlabelled examples, a lack of memory, and the times that it reports."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import vlprompt as vp
from vlprompt.data.features import FeatureStore
from vlprompt.errors import UsageError, VlpromptError
from vlprompt.learners import ZeroShot


@pytest.fixture
def task() -> vp.Task:
    digits = vp.load_task("digits")
    return replace(digits, test=digits.test[::60])


@pytest.fixture
def learner(task: vp.Task) -> ZeroShot:
    return ZeroShot(vp.load_clip("tiny"), task.classes)


def test_without_labels_there_are_scores_alone(learner: ZeroShot, task: vp.Task, tmp_path: Path) -> None:
    known = vp.evaluate(learner, task, store=FeatureStore(tmp_path))
    bare = replace(task, test=tuple(replace(example, label=-1) for example in task.test))
    found = vp.evaluate(learner, bare, store=FeatureStore(tmp_path))
    assert found.metrics == {}
    assert torch.equal(found.scores, known.scores)
    some = replace(task, test=(*task.test[:8], *bare.test[8:]))
    first = replace(task, test=task.test[:8])
    store = FeatureStore(tmp_path)
    assert vp.evaluate(learner, some, store=store).metrics == vp.evaluate(learner, first, store=store).metrics


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")])
def test_no_memory_is_one_line(
    learner: ZeroShot, task: vp.Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(ZeroShot, "predict", fails)
    with pytest.raises(VlpromptError, match="out of memory while evaluating; use fewer views"):
        vp.evaluate(learner, task, store=FeatureStore(tmp_path))
    error = RuntimeError("shapes do not fit")
    monkeypatch.setattr(ZeroShot, "predict", fails)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        vp.evaluate(learner, task, store=FeatureStore(tmp_path))


def test_the_learners_time_is_part_of_the_whole(learner: ZeroShot, task: vp.Task, tmp_path: Path) -> None:
    scores = vp.evaluate(learner, task, store=FeatureStore(tmp_path))
    assert 0 < scores.predict_seconds < scores.seconds


@pytest.mark.parametrize("given", [(), ["a.png"], "photos", None, torch.zeros(2, 3)])
def test_other_data_than_a_task_is_refused(learner: ZeroShot, task: vp.Task, given: object) -> None:
    with pytest.raises(UsageError, match=f"evaluate: the second argument is a {type(given).__name__}; give a task"):
        vp.evaluate(learner, given)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="fit: the second argument is a"):
        vp.fit(learner, given, vp.TrainConfig())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="evaluate: the first argument is a Task; give a learner"):
        vp.evaluate(task, learner)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="fit: config is a dict"):
        vp.fit(learner, task, {})  # type: ignore[arg-type]
