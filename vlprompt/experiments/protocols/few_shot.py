"""Few-shot: train on K images per class, evaluate on the whole test split. Zhou et al., IJCV 2022, section 4.1."""

from collections.abc import Iterator, Sequence

from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.experiments.defaults import FEW_SHOT_SHOTS, SEEDS
from vlprompt.experiments.grid import Grid, search
from vlprompt.experiments.results import Result
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.spec import LearnerSpec


def run(
    runner: Runner,
    task: Task,
    specs: Sequence[LearnerSpec],
    shots: Sequence[int] = FEW_SHOT_SHOTS,
    seeds: Sequence[int] = SEEDS,
    grid: Grid | None = None,
) -> Iterator[Result]:
    """One result per spec, shots and seed, as they are finished; a learner that does not train is evaluated once.

    With a grid, also one per point, spec and shots: settings are searched on the first seed's draw and used for all
    seeds.

    Args:
        runner: The backbone, and where results go.
        task: With labelled training images.
        specs: The learners.
        shots: Images per class to draw.
        seeds: Of the draw, the initialisation and the order of training.
        grid: Training settings to search on held-out images.

    Raises:
        UsageError: Fewer than one shot, or a learner that cannot do this; before anything runs.
    """
    if not shots or min(shots) < 1:
        raise UsageError(f"shots must be 1 or more; {list(shots)} was given. For none at all there is zero-shot.")
    runner.check(specs, task)
    for spec in specs:
        for count in shots if spec.trains else shots[:1]:
            best = runner
            if grid and spec.trains:
                drawn = task.few_shot(count, seeds[0])
                best = yield from search(runner, spec, drawn, grid, shots=count, seed=seeds[0])
            for drawn, own, seed in spec.draws(task, count, seeds):
                yield best.run("few_shot", spec, drawn, shots=own, seed=seed)
