"""The command `vlprompt continual`."""

from pathlib import Path

from tyro.conf import OmitArgPrefixes

from vlprompt.data import catalog
from vlprompt.protocols import continual
from vlprompt.report.continual import continual_table
from vlprompt.report.continual_plots import draw_continual
from vlprompt.results import ALL_SHOTS
from vlprompt.where import Where, show


def run(
    where: OmitArgPrefixes[Where],
    learners: tuple[str, ...] = ("linear", "l2p"),
    masked: tuple[str, ...] = ("linear",),
    joint: tuple[str, ...] = ("linear",),
    tasks: int = continual.TASKS,
    domains: bool = False,
    listed: bool = False,
    shots: int = ALL_SHOTS,
    test_shots: int | None = None,
    seeds: tuple[int, ...] = continual.SEEDS,
    plot: Path | None = None,
) -> None:
    """Learn some classes after others, or one domain after another; judge on all so far.

    Args:
        where: The model, the data and the folder of the run.
        learners: Rows of the table that learn task after task; without more, linear and full are sequential
            fine-tuning.
        masked: The same, comparing the classes of one task only while it is trained; vpt is one prompt for all tasks.
        joint: Rows that learn all tasks at once, the upper bound.
        tasks: How many tasks the classes are cut into.
        domains: A task for each domain of a data set of several, instead.
        listed: Classes or domains in the data set's own order instead of one drawn by each seed.
        shots: Training images a class; -1 for all.
        test_shots: Test images a class; all without it.
        seeds: Of the order, the draws, the start and the order of training.
        plot: Also draw NAME-matrix.png, NAME-tasks.png and NAME-usage.png, given NAME.png.
    """
    task, bench = where.open_task(catalog.open_domains if domains else catalog.open_task), where.bench()
    rows = where.entries((*learners, *masked, *joint))
    found = continual.run(
        bench,
        task,
        rows[: len(learners)],
        masked=rows[len(learners) : len(learners) + len(masked)],
        joint=rows[len(learners) + len(masked) :],
        tasks=tasks,
        domains=domains,
        listed=listed,
        shots=shots,
        test_shots=test_shots,
        seeds=seeds,
    )
    kept = show(found, where, continual_table)
    drawn = draw_continual(kept, plot) if plot is not None else []
    if drawn and not where.json:
        print(f"plots in {', '.join(map(str, drawn))}")
