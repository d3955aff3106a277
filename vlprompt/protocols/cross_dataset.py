"""Cross-dataset: train on one task, judge on others with their own classes and templates.

Zhou et al., CVPR 2022 (CoCoOp), section 4.2: trained on ImageNet with 16 shots, judged on the ten other data sets.
"""

from collections.abc import Iterator, Sequence

from vlprompt.data.task import Task
from vlprompt.results import Result
from vlprompt.runner import Bench, Entry, transfer

SHOTS = 16
SEEDS = (1, 2, 3)


def run(
    bench: Bench,
    source: Task,
    targets: Sequence[Task],
    entries: Sequence[Entry],
    shots: int = SHOTS,
    seeds: Sequence[int] = SEEDS,
) -> Iterator[Result]:
    """One result per entry and seed, with `TASK_top1` for the source and every target.

    Args:
        bench: Where and on which backbone.
        source: The task to train on.
        targets: The tasks to judge on besides; nothing of them is trained on.
        entries: The rows of the table.
        shots: Images a class to draw.
        seeds: Of the draw, the start of the prompt and the order of training.

    Raises:
        UsageError: No target, two tasks of one name, or an entry that cannot change its classes; before anything runs.
    """
    return transfer(bench, "cross_dataset", source, targets, entries, shots, seeds)
