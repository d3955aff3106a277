"""An interrupted continual run ends in the same bytes as an uninterrupted one."""

from typing import Any

import pytest

import vlprompt as vp
from tests.experiments.conftest import MakeRunner
from tests.experiments.protocols.conftest import POOLS, one
from vlprompt.experiments import runner as runners
from vlprompt.experiments.results import Result
from vlprompt.experiments.runner import Runner
from vlprompt.training import resume


def prompt_bytes(runner: Runner) -> bytes:
    (file,) = (runner.out / "prompts").rglob("prompt.safetensors")
    return file.read_bytes()


def measured(result: Result) -> list[Any]:
    """Everything that an interruption must not change."""
    return [result.key, result.metrics, result.extra["matrix"], result.extra.get("usage"), result.trainable_parameters]


def stop_fit(monkeypatch: pytest.MonkeyPatch, at: int, *, after_epoch: int = 0) -> None:
    """Interrupt training number `at` (from 1), as Ctrl-C does, before it begins or after one of its epochs."""
    calls, fit = [], runners.fit

    class Stop:
        def epoch(self, number: int, **_: float) -> None:
            if number == after_epoch:
                raise KeyboardInterrupt

        def close(self) -> None:
            pass

    def counted(*given: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == at and not after_epoch:
            raise KeyboardInterrupt
        return fit(*given, **{**more, "callbacks": [Stop()]} if len(calls) == at else more)

    monkeypatch.setattr(runners, "fit", counted)


@pytest.mark.parametrize("name", [*POOLS, "vpt", "full", "linear"])
@pytest.mark.parametrize("at", [2, 4])
def test_a_run_stopped_between_tasks_ends_in_the_same_bytes(
    name: str, at: int, sequential: MakeRunner, ten: vp.Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after task 1, and after task 3."""
    whole, broken = sequential("whole"), sequential("broken")
    wanted = one(whole, ten, name)
    with monkeypatch.context() as patch:
        stop_fit(patch, at)
        with pytest.raises(KeyboardInterrupt):
            one(broken, ten, name)
    (state,) = (broken.out / "unfinished").iterdir()
    assert not broken.results_file.exists()
    trained, fit = [], runners.fit

    def recorded(learner: Any, own: vp.Task, *given: Any, **more: Any) -> Any:
        trained.append(len(own.classes))
        return fit(learner, own, *given, **more)

    monkeypatch.setattr(runners, "fit", recorded)
    found = one(broken, ten, name)
    assert trained == [2, 4, 6, 8, 10][at - 1 :], "finished tasks are not trained again"
    assert measured(found) == measured(wanted)
    assert prompt_bytes(broken) == prompt_bytes(whole)
    assert not state.exists()


@pytest.mark.parametrize("name", [*POOLS, "vpt"])
def test_a_run_stopped_within_a_task_ends_in_the_same_bytes(
    name: str, sequential: MakeRunner, ten: vp.Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "SAVE_SECONDS", 0.0)
    whole, broken = sequential("whole", epochs=3), sequential("broken", epochs=3)
    wanted = one(whole, ten, name)
    with monkeypatch.context() as patch:
        stop_fit(patch, 3, after_epoch=2)
        with pytest.raises(KeyboardInterrupt):
            one(broken, ten, name)
    assert len(list((broken.out / "unfinished").iterdir())) == 2, "one after two tasks, one within the third"
    found = one(broken, ten, name)
    assert measured(found) == measured(wanted)
    assert prompt_bytes(broken) == prompt_bytes(whole)
    assert list((broken.out / "unfinished").iterdir()) == []
