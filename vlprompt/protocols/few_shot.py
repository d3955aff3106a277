"""Few-shot: train on K images a class, judge on the whole test split. Zhou et al., IJCV 2022, section 4.1."""

from collections.abc import Iterator, Sequence

from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.grid import Grid, search
from vlprompt.results import Result
from vlprompt.runner import Bench, Entry

SHOTS = (1, 2, 4, 8, 16)
SEEDS = (1, 2, 3)


def run(
    bench: Bench,
    task: Task,
    entries: Sequence[Entry],
    shots: Sequence[int] = SHOTS,
    seeds: Sequence[int] = SEEDS,
    grid: Grid | None = None,
) -> Iterator[Result]:
    """One result per entry, shots and seed, as they come; an entry that does not train is judged once.

    With a grid, also one per point of it, entry and shots: settings are searched on the first seed's draw and hold for
    all seeds.

    Args:
        bench: Where and on which backbone.
        task: With labelled training images.
        entries: The rows of the table.
        shots: Images a class to draw.
        seeds: Of the draw, the start of the prompt and the order of training.
        grid: Training settings to search on held-out images.

    Raises:
        UsageError: Fewer than one shot, or an entry that cannot do this; before anything runs.
    """
    if not shots or min(shots) < 1:
        raise UsageError(f"shots must be 1 or more; {list(shots)} was given. For none at all there is zero-shot.")
    for entry in entries:
        bench.check(entry, task, {"": task})
    for entry in entries:
        if not entry.learns:
            yield bench.run("few_shot", entry, task, {"": task}, shots=0, seed=0)
            continue
        for count in shots:
            first = task.few_shot(count, seeds[0])
            tuned = yield from search(bench, entry, first, grid or {}, shots=count, seed=seeds[0])
            for seed in seeds:
                drawn = task.few_shot(count, seed)
                yield tuned.run("few_shot", entry, drawn, {"": drawn}, shots=count, seed=seed)
