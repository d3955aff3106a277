"""A sweep of 120 short few-shot runs: two Ray workers against one, in total and after their start.

Every run is complete: handwritten digits with the bundled CLIP, features from the store (filled before), a prompt
trained by its recipe, its evaluation, a line of results. Each worker has one thread. `times_faster` compares the
seconds between the first result and the last, which are what a long sweep gains; `with_start` includes the start of Ray
and the workers' imports. The metrics of both sides must be equal to the last bit. Target: 1.6 times.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.common.records import Record, misses
from vlprompt.experiments import results_file
from vlprompt.experiments.sweep.cluster import WorkerPool, installed, run_units
from vlprompt.experiments.sweep.experiment import Experiment
from vlprompt.experiments.sweep.plan import Unit, units
from vlprompt.experiments.sweep.worker import Worker

FASTER = 1.6


@dataclass(frozen=True)
class Side:
    """One number of workers: seconds in total, seconds between the first and the last result, and the metrics."""

    total: float
    running: float
    metrics: dict[str, dict[str, float]]


def grid(quick: bool) -> list[Unit]:
    """The runs."""
    seeds = tuple(range(1, 3 if quick else 61))
    changed = {"train": {"augment": "none", **({"epochs": 1} if quick else {})}}
    return units([Experiment("few_shot", "digits", ("coop", "kgcoop"), shots=(4,), seeds=seeds, set=changed)])


def run(quick: bool = False) -> Iterator[Record]:
    """Measure one worker, then two."""
    if not installed():
        print("sweep: Ray is not installed (the extra `sweep`); nothing was measured", file=sys.stderr)
        return
    runs = grid(quick)
    with tempfile.TemporaryDirectory() as folder:
        Worker(Path(folder) / "first").run(runs[0])  # fills the store
        one, two = (side(runs, workers, Path(folder) / str(workers)) for workers in (1, 2))
    figures = {
        "one_s": one.running,
        "two_s": two.running,
        "times_faster": one.running / two.running,
        "with_start": one.total / two.total,
        "metrics_equal": float(one.metrics == two.metrics),
    }
    least = {"metrics_equal": 1.0, **({} if quick else {"times_faster": FASTER})}
    yield Record("sweep", {"runs": len(runs), "workers": 2}, figures, misses(figures, least=least, most={}))


def side(runs: list[Unit], workers: int, out: Path) -> Side:
    """The sweep by a number of workers, always Ray's, so that the sides differ in their number only."""
    began = time.perf_counter()
    ends = [time.perf_counter() for _ in run_units(runs, WorkerPool(workers), out)]
    found = results_file.read(out / "results.jsonl")
    share = (len(runs) - 1) / len(runs)  # the time until the first result is the start and one run
    metrics = {result.key: dict(result.metrics) for result in found}
    return Side(ends[-1] - began, (ends[-1] - ends[0]) / share, metrics)
