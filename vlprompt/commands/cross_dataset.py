"""The command `vlprompt cross-dataset`."""

from tyro.conf import OmitArgPrefixes

from vlprompt.data import catalog
from vlprompt.protocols import cross_dataset
from vlprompt.report import tables
from vlprompt.where import Where, show


def run(
    where: OmitArgPrefixes[Where],
    targets: tuple[str, ...],
    learners: tuple[str, ...] = ("zero_shot", "coop:cocoop-paper"),
    shots: int = cross_dataset.SHOTS,
    seeds: tuple[int, ...] = cross_dataset.SEEDS,
) -> None:
    """Train on one task, judge on others with their own classes and templates.

    Args:
        where: The model, the task to train on and the folder of the run.
        targets: Tasks to judge on: names or paths, as for --task.
        learners: Rows of the table; a published setting follows a colon, as coop:cocoop-paper.
        shots: Images a class.
        seeds: Of the draw, the start and the order of training.
    """
    source, bench = where.open_task(), where.bench()
    others = [catalog.open_task(target, where.root) for target in targets]
    found = cross_dataset.run(bench, source, others, where.entries(learners), shots, seeds)
    show(found, where, tables.transfer_table)
