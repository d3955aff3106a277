"""Test time: a stream of test images, judged before and after a method adapts to each of them.

Episodic methods (TPT, MTA, ZERO) forget an image before the next; their answers do not depend on the order. Online ones
(TDA) learn from the stream; it is shuffled by the seed for them, and starts them afresh. Which one a method is, and the
order, stand in the result. Before means the same words on the plain image: zero-shot, or the trained prompt that is
wrapped ("tpt+coop"). Seconds for each image are those of adapting and answering; views of images are encoded once, for
all methods that want the same ones, and not counted.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.results import Result
from vlprompt.runner import Bench, Entry

SHOTS = 16
SEEDS = (1, 2, 3)


def run(
    bench: Bench, task: Task, entries: Sequence[Entry], shots: int = SHOTS, seeds: Sequence[int] = SEEDS
) -> Iterator[Result]:
    """One result per entry and seed, with `top1`, `ece_15_equal_width` and, of what adapts, `before_top1` and so on.

    Args:
        bench: Where and on which backbone.
        task: Its test split is the stream; without labels there are no metrics.
        entries: The rows of the table; what is trained first is trained on few shots.
        shots: Images a class to train on, for entries that learn.
        seeds: Of views, of the order of online methods, of the draw and of training; what has nothing random is judged
            once.

    Raises:
        UsageError: Fewer than one shot, or an entry that cannot do this; before anything runs.
    """
    if shots < 1:
        raise UsageError(f"shots must be 1 or more, {shots} was given; entries that do not learn ignore it.")
    for entry in entries:
        bench.check(entry, task, {"": task})
    for entry in entries:
        adapts = entry.adapts
        for seed in seeds if adapts or entry.learns else (0,):
            drawn = task.few_shot(shots, seed) if entry.learns else task
            stream = in_stream_order(drawn, seed) if entry.kind.online else drawn
            notes = {
                "adaptation": ("online" if entry.kind.online else "episodic") if adapts else "none",
                "order": "shuffled by the seed" if entry.kind.online else "as listed",
            }
            yield bench.run(
                "test_time",
                entry,
                stream,
                {"": stream},
                shots=shots if entry.learns else 0,
                seed=seed,
                before=adapts,
                notes=notes,
            )


def in_stream_order(task: Task, seed: int) -> Task:
    """The task with its test images in an order that depends on the seed only."""
    test = list(task.test)
    random.Random(seed).shuffle(test)
    return replace(task, test=tuple(test))
