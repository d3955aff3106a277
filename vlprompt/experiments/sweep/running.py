"""Run the protocol of an experiment."""

import importlib
from collections.abc import Iterable, Sequence
from typing import Any

from vlprompt.data.domains import read_pair
from vlprompt.data.task import Task
from vlprompt.experiments import protocols
from vlprompt.experiments.results import Result
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.sweep.experiment import LEARNERS, Experiment


def runs(experiment: Experiment, runner: Runner, tasks: Sequence[Task]) -> Iterable[Result]:
    """The results of an experiment, as they are finished.

    Args:
        experiment: What to run.
        runner: On the experiment's backbone and with its training settings.
        tasks: The experiment's task and its targets.
    """
    task, *targets = tasks
    given = [*([targets] if targets else []), experiment.specs()]
    options: dict[str, Any] = {key: experiment.specs(key) for key in LEARNERS[1:]}
    options |= {"seeds": experiment.seeds, "grid": experiment.grid}
    options["pairs"] = [read_pair(pair) for pair in experiment.pairs]
    options = {name: value for name, value in options.items() if value} | experiment.stream
    if experiment.shots is not None:
        options["shots"] = experiment.shots
    module: Any = importlib.import_module(f"{protocols.__name__}.{experiment.protocol}")
    results: Iterable[Result] = module.run(runner, task, *given, **options)
    return results
