"""A sweep of 120 short few-shot runs: two workers of Ray against one, in all and once the workers are up.

    python -m benchmarks.speed.sweep [--quick]

Every run is the whole way: handwritten digits of the bundled CLIP, features from the store (filled before), a prompt
trained by its recipe and judged, a line written. Each worker has one thread. `times_faster` goes by the seconds between
the first result and the last, which is what a long sweep gains; `with_start` counts Ray and the workers' imports too.
The metrics of both sides must be equal to the last bit. Target: 1.6 times.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.measure import Record, main, misses
from vlprompt import results
from vlprompt.sweep.cluster import Crew, installed, outcomes
from vlprompt.sweep.experiment import Experiment
from vlprompt.sweep.plan import Unit, units
from vlprompt.sweep.worker import Worker

FASTER = 1.6


@dataclass(frozen=True)
class Side:
    """What one number of workers took: seconds in all, those between the first and the last result, and the metrics."""

    whole: float
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
        print("sweep: Ray is not installed (the extra sweep); nothing was measured", file=sys.stderr)
        return
    runs = grid(quick)
    with tempfile.TemporaryDirectory() as folder:
        Worker(Path(folder) / "first").run(runs[0])  # fills the store
        one, two = (side(runs, workers, Path(folder) / str(workers)) for workers in (1, 2))
    figures = {
        "one_s": one.running,
        "two_s": two.running,
        "times_faster": one.running / two.running,
        "with_start": one.whole / two.whole,
        "metrics_equal": float(one.metrics == two.metrics),
    }
    least = {"metrics_equal": 1.0, **({} if quick else {"times_faster": FASTER})}
    yield Record("sweep", {"runs": len(runs), "workers": 2}, figures, misses(figures, least=least, most={}))


def side(runs: list[Unit], workers: int, out: Path) -> Side:
    """The same sweep by so many workers, all of them Ray's, so that nothing but their number differs."""
    began = time.perf_counter()
    ends = [time.perf_counter() for _ in outcomes(runs, Crew(workers), out)]
    found = results.read(out / "results.jsonl")
    share = (len(runs) - 1) / len(runs)  # the first result ends the start, which its own run is a part of
    metrics = {result.key: dict(result.metrics) for result in found}
    return Side(ends[-1] - began, (ends[-1] - ends[0]) / share, metrics)


if __name__ == "__main__":
    sys.exit(main(run))
