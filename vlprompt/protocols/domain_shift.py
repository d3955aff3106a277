"""Domain shift: train on a source, judge on other versions of the same classes, or of some of them.

Zhou et al., IJCV 2022 (CoOp), section 4.2: ImageNet to ImageNetV2, -Sketch, -A and -R, the last two over their own 200
classes.
"""

from collections.abc import Iterator, Sequence

from vlprompt.data.task import Task
from vlprompt.errors import UsageError
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
    """One result per entry and seed, with `TASK_top1` for the source and every shifted version.

    Args:
        bench: Where and on which backbone.
        source: The task to train on.
        targets: Other versions of it; each is judged over its own classes.
        entries: The rows of the table.
        shots: Images a class to draw.
        seeds: Of the draw, the start of the prompt and the order of training.

    Raises:
        UsageError: A target has a class that the source has not; or as for `runner.transfer`.
    """
    for task in targets:
        strange = sorted(set(task.classes) - set(source.classes))
        if strange:
            raise UsageError(
                f"{task.name} is no version of {source.name}: it has classes that the source has not "
                f"({', '.join(strange[:3])}); judge it with cross-dataset."
            )
    return transfer(bench, "domain_shift", source, targets, entries, shots, seeds)
