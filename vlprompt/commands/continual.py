"""The command `vlprompt continual`."""

from pathlib import Path

from vlprompt.commands.options import Run
from vlprompt.commands.output import print_plots, print_results
from vlprompt.errors import UsageError
from vlprompt.experiments.defaults import SEEDS, TASKS
from vlprompt.experiments.results import ALL_SHOTS


def run(
    options: Run,
    learners: tuple[str, ...] = ("linear", "l2p"),
    masked: tuple[str, ...] = ("linear",),
    joint: tuple[str, ...] = ("linear",),
    tasks: int = TASKS,
    domains: bool = False,
    listed: bool = False,
    shots: int = ALL_SHOTS,
    test_shots: int | None = None,
    seeds: tuple[int, ...] = SEEDS,
    plot: Path | None = None,
) -> None:
    """Train on one group of classes or domain after another, evaluate on all so far.

    Args:
        options: Data, frozen model and output folder.
        learners: Methods to train on one task after another. linear and full are plain sequential fine-tuning.
        masked: Methods to train likewise, with a softmax over the current task's classes only.
        joint: Methods to train on all tasks at once, the upper bound.
        tasks: Number of groups of classes, one per task.
        domains: Make one task of each domain instead, for data sets of several domains.
        listed: Use the data set's own order of classes or domains instead of a random one per seed.
        shots: Training images per class; -1 for all.
        test_shots: Test images per class; without it, all.
        seeds: One run per seed, which sets the order of tasks, the draw, the initialisation and the order of training.
        plot: Also draw the results: NAME-matrix.png, NAME-tasks.png and NAME-usage.png, given NAME.png.
    """
    from vlprompt.experiments.protocols import continual
    from vlprompt.report.continual_plots import draw_continual

    if domains and tasks != TASKS:
        raise UsageError("--domains makes one task of each domain, so --tasks cannot be given too.")
    specs = options.specs((*learners, *masked, *joint))
    first_joint = len(learners) + len(masked)
    results = continual.run(
        options.runner(specs),
        options.open_task(domains=domains),
        specs[: len(learners)],
        masked=specs[len(learners) : first_joint],
        joint=specs[first_joint:],
        tasks=tasks,
        domains=domains,
        listed=listed,
        shots=shots,
        test_shots=test_shots,
        seeds=seeds,
    )
    done = print_results(results, options, "continual")
    print_plots(draw_continual(done, plot) if plot else (), quiet=options.json)
