"""The command `vlprompt base-to-new`."""

from tyro.conf import OmitArgPrefixes

from vlprompt.protocols import base_to_new
from vlprompt.report import tables
from vlprompt.where import Where, show


def run(
    where: OmitArgPrefixes[Where],
    learners: tuple[str, ...] = ("zero_shot", "coop:cocoop-paper"),
    shots: int = base_to_new.SHOTS,
    seeds: tuple[int, ...] = base_to_new.SEEDS,
) -> None:
    """Train on half of the classes, judge on both halves.

    Args:
        where: The model, the data and the folder of the run.
        learners: Rows of the table; a published setting follows a colon, as coop:cocoop-paper.
        shots: Images a class.
        seeds: Of the draw, the start and the order of training.
    """
    task, bench = where.open_task(), where.bench()
    show(base_to_new.run(bench, task, where.entries(learners), shots, seeds), where, tables.base_to_new_table)
