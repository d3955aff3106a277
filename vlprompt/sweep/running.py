"""An experiment put through its protocol."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from vlprompt.data.domains import read_pair
from vlprompt.data.task import Task
from vlprompt.protocols import (
    base_to_new,
    cross_dataset,
    domain_adaptation,
    domain_shift,
    few_shot,
    test_time,
    zero_shot,
)
from vlprompt.results import Result
from vlprompt.runner import Bench
from vlprompt.sweep.experiment import ADAPTATION, FEW_SHOT, TEST_TIME, Experiment

RUN: Mapping[str, Callable[..., Iterable[Result]]] = {
    FEW_SHOT: few_shot.run,
    "base_to_new": base_to_new.run,
    "cross_dataset": cross_dataset.run,
    "domain_shift": domain_shift.run,
    "zero_shot": zero_shot.run,
    TEST_TIME: test_time.run,
    ADAPTATION: domain_adaptation.run,
}
SHOTS: Mapping[str, Sequence[int]] = {FEW_SHOT: few_shot.SHOTS}
SEEDS: Mapping[str, Sequence[int]] = {
    FEW_SHOT: few_shot.SEEDS,
    "base_to_new": base_to_new.SEEDS,
    "cross_dataset": cross_dataset.SEEDS,
    "domain_shift": domain_shift.SEEDS,
    TEST_TIME: test_time.SEEDS,
    ADAPTATION: domain_adaptation.SEEDS,
}


def runs(experiment: Experiment, bench: Bench, tasks: Sequence[Task]) -> Iterable[Result]:
    """The results of an experiment, as they come.

    Args:
        experiment: What to run.
        bench: Where, on the experiment's backbone and with its training settings.
        tasks: The experiment's task and its targets.
    """
    task, *targets = tasks
    given = [*([targets] if targets else []), experiment.entries()]
    return RUN[experiment.protocol](bench, task, *given, **_options(experiment))


def _options(experiment: Experiment) -> dict[str, Any]:
    """What replaces the protocol's own."""
    options: dict[str, Any] = {"shots": experiment.shots, "seeds": experiment.seeds or None}
    options["grid"] = experiment.grid or None
    options["pseudo"] = experiment.entries(experiment.pseudo) if experiment.pseudo else None
    options["pairs"] = [read_pair(pair) for pair in experiment.pairs] or None
    return {name: option for name, option in options.items() if option is not None}
