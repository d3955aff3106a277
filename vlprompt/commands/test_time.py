"""The command `vlprompt test-time`."""

from tyro.conf import OmitArgPrefixes

from vlprompt.protocols import test_time
from vlprompt.report import tables
from vlprompt.where import Where, show


def run(
    where: OmitArgPrefixes[Where],
    learners: tuple[str, ...] = ("zero_shot", "tpt", "mta", "zero", "tda"),
    shots: int = test_time.SHOTS,
    seeds: tuple[int, ...] = test_time.SEEDS,
) -> None:
    """Adapt to each test image, judge before and after.

    Args:
        where: The model, the data and the folder of the run.
        learners: Rows of the table; tpt+coop:cocoop-paper is tpt over a prompt that coop:cocoop-paper trains first.
        shots: Images a class to train on, where something is trained.
        seeds: Of the views, of the order of online methods, of the draw and of training.
    """
    task, bench = where.open_task(), where.bench()
    show(test_time.run(bench, task, where.entries(learners), shots, seeds), where, tables.stream_table)
