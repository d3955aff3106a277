"""The command `vlprompt few-shot`."""

from tyro.conf import OmitArgPrefixes

from vlprompt.grid import parse as parse_grid
from vlprompt.protocols import few_shot
from vlprompt.report import tables
from vlprompt.where import Where, show


def run(
    where: OmitArgPrefixes[Where],
    learners: tuple[str, ...] = ("zero_shot", "linear_probe", "coop"),
    shots: tuple[int, ...] = few_shot.SHOTS,
    seeds: tuple[int, ...] = few_shot.SEEDS,
    grid: tuple[str, ...] = (),
) -> None:
    """Train on K images a class, judge on the test split.

    Args:
        where: The model, the data and the folder of the run.
        learners: Rows of the table; a published setting follows a colon, as coop:cocoop-paper.
        shots: Images a class.
        seeds: Of the draw, the start and the order of training.
        grid: Training settings to search on images held out of training, as train.lr=0.1,1 train.weight_decay=0,0.01;
            what does best on the first seed's draw is used for all.
    """
    searched, task, bench = parse_grid(grid), where.open_task(), where.bench()
    found = few_shot.run(bench, task, where.entries(learners), shots, seeds, searched)
    show(found, where, tables.few_shot_table)
