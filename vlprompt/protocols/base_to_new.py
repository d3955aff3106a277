"""Base-to-new: train on half of the classes, judge on both halves. Zhou et al., CVPR 2022 (CoCoOp), section 4.1.

Each half is judged among its own names only. The draw is made over all classes first, then the classes are halved.
"""

from collections.abc import Iterator, Mapping, Sequence

from vlprompt.data.task import Task
from vlprompt.metrics import harmonic_mean
from vlprompt.results import Result
from vlprompt.runner import Bench, Entry

SHOTS = 16
SEEDS = (1, 2, 3)


def run(
    bench: Bench, task: Task, entries: Sequence[Entry], shots: int = SHOTS, seeds: Sequence[int] = SEEDS
) -> Iterator[Result]:
    """One result per entry and seed, with `base_top1`, `new_top1` and their harmonic mean.

    Args:
        bench: Where and on which backbone.
        task: With labelled training images of two classes or more.
        entries: The rows of the table.
        shots: Images a class to draw.
        seeds: Of the draw, the start of the prompt and the order of training.

    Raises:
        UsageError: An entry that cannot change its classes; before anything runs.
    """
    halves = dict(zip(("base", "new"), task.base_and_new(), strict=True))
    for entry in entries:
        bench.check(entry, halves["base"], halves)
    for entry in entries:
        for seed in seeds if entry.learns else (0,):
            base, new = (task.few_shot(shots, seed) if entry.learns else task).base_and_new()
            judged = {"base": base, "new": new}
            count = shots if entry.learns else 0
            yield bench.run("base_to_new", entry, base, judged, shots=count, seed=seed, summary=of_both)


def of_both(measured: Mapping[str, float]) -> dict[str, float]:
    """The harmonic mean of the halves' accuracies."""
    if not {"base_top1", "new_top1"} <= measured.keys():  # no label of a half is known
        return {}
    return {"harmonic_mean": harmonic_mean(measured["base_top1"], measured["new_top1"])}
