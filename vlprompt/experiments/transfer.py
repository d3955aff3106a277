"""Train on one task, evaluate on several."""

from collections.abc import Iterator, Sequence

from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.experiments.results import Result
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.spec import LearnerSpec


def transfer(
    runner: Runner,
    protocol: str,
    source: Task,
    targets: Sequence[Task],
    specs: Sequence[LearnerSpec],
    shots: int,
    seeds: Sequence[int],
) -> Iterator[Result]:
    """Train on few shots of one task, evaluate on it and on others: one result per spec and seed, with `TASK_top1`.

    Raises:
        UsageError: No target, two tasks of one name, or a spec that cannot do this; before anything runs.
    """
    tasks = {task.name: task for task in (source, *targets)}
    if not targets or len(tasks) != len(targets) + 1:
        raise UsageError("give one target or more; their names must differ from each other and from the source's.")
    runner.check(specs, source, tasks)
    for spec in specs:
        for drawn, count, seed in spec.draws(source, shots, seeds):
            yield runner.run(protocol, spec, drawn, {**tasks, source.name: drawn}, shots=count, seed=seed)
