"""Continual learning: tasks one after another, judged after each on all so far; no task is told at a test.

Class-incremental (Split CIFAR-100, Split ImageNet-R): a data set's classes, some at a time, in an order drawn by the
seed. Domain-incremental (CORe50): the same classes in one domain after another. a[t, i] is the accuracy on task i after
task t among all classes seen by then; the matrix stands in the result, and every published definition of average and
forgetting under its own name (`metrics.CONTINUAL`).

The rows that a pool of prompts must be set beside: sequential fine-tuning (`linear`, `full`: nothing but the method
itself); the same with a class mask, under which a task's training compares its own classes only (`masked`; `vpt` is the
frozen model with one prompt for all tasks); and training on all tasks at once, the upper bound (`joint`).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from vlprompt import stages
from vlprompt.data.streams import Stream, few_judged, in_stages, over_domains
from vlprompt.data.task import Task
from vlprompt.results import ALL_SHOTS, Result
from vlprompt.runner import Bench, Entry

TASKS = 5
SEEDS = (1, 2, 3)


def run(
    bench: Bench,
    task: Task,
    entries: Sequence[Entry],
    *,
    masked: Sequence[Entry] = (),
    joint: Sequence[Entry] = (),
    tasks: int = TASKS,
    domains: bool = False,
    listed: bool = False,
    shots: int = ALL_SHOTS,
    test_shots: int | None = None,
    seeds: Sequence[int] = SEEDS,
) -> Iterator[Result]:
    """One result per entry and seed; each goes on where it was interrupted, after any task and within one.

    Args:
        bench: Where and on which backbone.
        task: Whose classes, or domains, make the tasks.
        entries: Rows of the table that learn one task after the other.
        masked: The same with a class mask on their linear head.
        joint: Rows that learn all tasks at once; of their matrix there is the last row only.
        tasks: How many, class by class.
        domains: Domain by domain instead.
        listed: Classes (or domains) in the order of the data set instead of one drawn by the seed.
        shots: Images a class to draw, -1 for all.
        test_shots: Test images of each class to draw; all where it is left out.
        seeds: Of the order, the draws, the start and the order of training.

    Raises:
        UsageError: A stream that cannot be, or an entry that cannot do this; before anything runs.
    """
    streams = {}
    for seed in seeds:
        drawn, order = _drawn(task, shots, test_shots, seed), None if listed else seed
        streams[seed] = over_domains(drawn, order) if domains else in_stages(drawn, tasks, order)
    masked = [replace(entry, changed={**entry.changed, "mask": "classes"}) for entry in masked]
    joint = [replace(entry, changed={**entry.changed, "tasks": "joint"}) for entry in joint]
    for stream in list(streams.values())[:1]:
        _check(bench, stream, entries, masked, joint)
    for entry, (seed, stream) in product((*entries, *masked), streams.items()):
        options: dict[str, Any] = {"masked": entry in masked, "shots": shots * entry.learns, "seed": seed}
        yield stages.run(bench, "continual", entry, stream, **options, notes=_notes(stream))
    for entry, (seed, stream) in product(joint, streams.items()):
        yield _at_once(bench, entry, stream, shots * entry.learns, seed)


def _check(
    bench: Bench, stream: Stream, entries: Sequence[Entry], masked: Sequence[Entry], joint: Sequence[Entry]
) -> None:
    """Say before anything runs what an entry cannot do."""
    for entry in (*entries, *masked):
        stages.check(bench, entry, stream, masked=entry in masked)
    for entry in joint:
        bench.check(entry, stream.joint(), stream.judged(len(stream.stages) - 1))


def _drawn(task: Task, shots: int, test_shots: int | None, seed: int) -> Task:
    """The task with the images that are learned from and judged on."""
    drawn = task if shots == ALL_SHOTS else task.few_shot(shots, seed)
    return drawn if test_shots is None else few_judged(drawn, test_shots, seed)


def _at_once(bench: Bench, entry: Entry, stream: Stream, shots: int, seed: int) -> Result:
    """Train on all tasks together, judge on each."""
    judged = stream.judged(len(stream.stages) - 1)

    def average(measured: Mapping[str, float]) -> dict[str, float]:
        return {"average_accuracy": math.fsum(measured[f"{part}_top1"] for part in judged) / len(judged)}

    return bench.run(
        "continual", entry, stream.joint(), judged, shots=shots, seed=seed, notes=_notes(stream), summary=average
    )


def _notes(stream: Stream) -> dict[str, Any]:
    """What is new in each task, in its order."""
    return {"order": stream.parts}
