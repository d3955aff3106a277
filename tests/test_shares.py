"""A stream judged in shares says exactly what one process says, however the shares are done."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import vlprompt as vp
from vlprompt import feed, runner
from vlprompt.data.features import FeatureStore
from vlprompt.protocols import test_time
from vlprompt.results import Result, read
from vlprompt.runner import Bench, Entry
from vlprompt.shares import OthersMissingError, Share

SETTINGS = {"tpt": {"views": 12}, "coop": {"n_ctx": 2}}


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten images in a batch."""
    monkeypatch.setattr(feed, "TEST_BATCH", 10)


@pytest.fixture(scope="module")
def clip() -> vp.Clip:
    return vp.load_clip("tiny")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return FeatureStore(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def task() -> vp.Task:
    digits = vp.load_task("digits")
    return replace(digits, test=digits.test[:45])


def stream(bench: Bench, task: vp.Task, entry: str) -> Result:
    (result,) = test_time.run(bench, task, [Entry.parse(entry, SETTINGS)], shots=1, seeds=(1,))
    return result


@pytest.fixture
def bench(clip: vp.Clip, store: FeatureStore, tmp_path: Path) -> Bench:
    return Bench(clip, tmp_path, store, {"augment": "none", "epochs": 2}, quiet=True)


@pytest.mark.parametrize("entry", ["tpt", "tpt+coop", "zero_shot"])
def test_shares_together_are_the_whole(entry: str, bench: Bench, task: vp.Task, tmp_path: Path) -> None:
    whole = stream(replace(bench, out=tmp_path / "whole"), task, entry)
    shared = replace(bench, out=tmp_path / "shared")
    for number in (2, 0):
        with pytest.raises(OthersMissingError):
            stream(replace(shared, share=Share(number, 3)), task, entry)
    assert not shared.results_file.exists()
    result = stream(replace(shared, share=Share(1, 3)), task, entry)
    assert result.metrics == whole.metrics
    assert result.key == whole.key
    assert result.examples == whole.examples == 45
    assert read(shared.results_file) == [result]
    assert stream(replace(shared, share=Share(0, 3)), task, entry) == result, "what has a result is not judged again"
    assert not list((tmp_path / "shared" / "unfinished").iterdir()), "nothing is left behind"
    if entry != "zero_shot":
        assert "before_top1" in result.metrics


def test_a_prompt_below_is_trained_once(bench: Bench, task: vp.Task, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[int] = []
    fit = runner.fit
    monkeypatch.setattr(runner, "fit", lambda *given, **more: trained.append(1) or fit(*given, **more))
    for number in range(2):
        with pytest.raises(OthersMissingError):
            stream(replace(bench, share=Share(number, 3)), task, "tpt+coop")
    stream(replace(bench, share=Share(2, 3)), task, "tpt+coop")
    assert trained == [1]


def test_a_share_that_is_kept_is_not_judged_again(bench: Bench, task: vp.Task, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[int] = []
    evaluate = runner.evaluate
    noted = lambda learner, task, **more: judged.append(len(task.test)) or evaluate(learner, task, **more)  # noqa: E731
    monkeypatch.setattr(runner, "evaluate", noted)
    for number in (0, 0, 1):
        with pytest.raises(OthersMissingError):
            stream(replace(bench, share=Share(number, 3)), task, "tpt")
    assert judged == [10, 10, 20, 20], "before and after, once each"


def test_shares_are_whole_batches_and_cover_everything(clip: vp.Clip, task: vp.Task) -> None:
    learner = vp.learners.TPT(clip, task.classes, vp.learners.TPTConfig(views=12))

    def cut(count: int) -> Iterator[int]:
        for number in range(count):
            part = Share(number, count).of(learner, task).test
            assert number == count - 1 or len(part) % 10 == 0
            yield from (example.item for example in part)

    for count in (1, 2, 3, 5):
        assert list(cut(count)) == [example.item for example in task.test]
    assert Share(3, 50).within(learner, task) == Share(3, 5)
    with pytest.raises(OthersMissingError):
        Share(5, 50).within(learner, task)
