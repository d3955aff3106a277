"""Few-shot, base-to-new and transfer on a few digits: which runs there are, and what their results state."""

from dataclasses import replace

import pytest

import vlprompt as vp
from tests.experiments.conftest import MakeRunner
from vlprompt.errors import UsageError
from vlprompt.experiments.protocols import base_to_new, cross_dataset, domain_shift, few_shot
from vlprompt.experiments.spec import LearnerSpec
from vlprompt.experiments.statistics import harmonic_mean

SPECS = [LearnerSpec.parse("zero_shot"), LearnerSpec.parse("coop", {"coop": {"n_ctx": 2}})]


@pytest.fixture(scope="module")
def task() -> vp.Task:
    digits = vp.load_task("digits")
    return replace(digits, test=digits.test[::15])


def test_one_run_per_shots_and_seed_and_one_for_what_does_not_train(task: vp.Task, make_runner: MakeRunner) -> None:
    found = list(few_shot.run(make_runner(epochs=1), task, SPECS, (1, 2), (1, 2)))
    assert [(each.learner, each.shots, each.seed) for each in found] == [
        ("zero_shot", 0, 0),
        ("coop", 1, 1),
        ("coop", 1, 2),
        ("coop", 2, 1),
        ("coop", 2, 2),
    ]
    assert {each.examples for each in found} == {len(task.test)}
    for shots in ((), (0, 1)):
        with pytest.raises(UsageError, match="shots must be 1 or more"):
            list(few_shot.run(make_runner(), task, SPECS, shots))


def test_base_and_new_are_evaluated_among_their_own_names(task: vp.Task, make_runner: MakeRunner) -> None:
    found = list(base_to_new.run(make_runner(epochs=1), task, SPECS, 1, (1,)))
    assert [(each.learner, each.classes, each.shots, each.seed) for each in found] == [
        ("zero_shot", 5, 0, 0),
        ("coop", 5, 1, 1),
    ]
    for each in found:
        halves = each.metrics["base_top1"], each.metrics["new_top1"]
        assert each.metrics["harmonic_mean"] == harmonic_mean(*halves)
        assert each.examples == len(task.test)


@pytest.mark.parametrize("protocol", [cross_dataset, domain_shift])
def test_a_prompt_is_evaluated_on_its_source_and_on_every_target(
    protocol: object, task: vp.Task, make_runner: MakeRunner
) -> None:
    target = replace(task, name="target", test=task.test[:20])
    (zero, coop) = protocol.run(make_runner(epochs=1), task, [target], SPECS, 1, (1,))  # type: ignore[attr-defined]
    for each in (zero, coop):
        assert each.task == "digits"
        assert {"digits_top1", "target_top1"} <= each.metrics.keys()
        assert each.examples == len(task.test) + 20
    for targets in ([], [target, target], [task]):
        with pytest.raises(UsageError, match="give one target or more"):
            list(protocol.run(make_runner(), task, targets, SPECS, 1, (1,)))  # type: ignore[attr-defined]


def test_a_shifted_version_has_no_classes_of_its_own(task: vp.Task, make_runner: MakeRunner) -> None:
    other = replace(task, name="letters", classes=(*task.classes[:9], "a"))
    with pytest.raises(UsageError, match=r"letters is not a version of digits.*\(a\); evaluate on it with cross-"):
        list(domain_shift.run(make_runner(), task, [other], SPECS))
