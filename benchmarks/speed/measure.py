"""What all benchmarks share: timing two sides in turn, facts of the machine, and the file of results."""

import argparse
import json
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from benchmarks.speed import compare
from vlprompt.backbones.products import fast_products

RESULTS = Path(__file__).resolve().parent.parent / "results" / "speed.jsonl"


@dataclass(frozen=True)
class Record:
    """One measurement.

    Attributes:
        benchmark: The file that took it.
        setting: What was measured, by name.
        figures: What came out, by name, units in the names.
        missed: Targets that were not reached and checks that failed, a line each.
    """

    benchmark: str
    setting: Mapping[str, Any]
    figures: Mapping[str, float]
    missed: Sequence[str] = field(default=())


Run = Callable[[bool], Iterable[Record]]


def main(run: Run, arguments: Sequence[str] | None = None, *, as_fit_does: bool = False) -> int:
    """Take a benchmark's measurements, print them and add them to the results.

    Args:
        run: The benchmark.
        arguments: Instead of those of the process.
        as_fit_does: Multiply by `fast_products`; otherwise as torch does by itself, so that two sides that are
            compared multiply alike and a ratio is the method's own.

    Returns:
        1 where a measurement misses its target or a ratio fell by more than 15 %, else 0.
    """
    parser = argparse.ArgumentParser(description=sys.modules[run.__module__].__doc__)
    parser.add_argument("--quick", action="store_true", help="a tiny model, few classes: seconds; nothing is kept")
    parser.add_argument("--results", type=Path, help=f"where to add lines (default: {RESULTS.name}, none if quick)")
    asked = parser.parse_args(arguments)
    path = asked.results or (None if asked.quick else RESULTS)
    known = [] if asked.quick else compare.committed(RESULTS)
    faults = 0
    with fast_products() if as_fit_does else torchs_products():
        for record in run(asked.quick):
            line = line_of(record)
            slower = compare.fallen(line, known)
            print("\n  SLOWER: ".join([shown(record), *slower]), flush=True)
            faults += len(record.missed) + len(slower)
            if path:
                append(path, line)
    return int(faults > 0)


@contextmanager
def torchs_products() -> Iterator[None]:
    """While open, torch multiplies by the library it chooses itself, in `fit` and `evaluate` too."""
    setting: Any = getattr(torch.backends.mkldnn, "matmul", None)
    before = getattr(setting, "fp32_precision", None)
    if before is None:
        yield
        return
    setting.fp32_precision = "ieee"
    try:
        yield
    finally:
        setting.fp32_precision = before


def shown(record: Record) -> str:
    """A record as a line for people."""
    setting = ", ".join(f"{name} {value}" for name, value in record.setting.items())
    figures = ", ".join(f"{name} {value:.4g}" for name, value in record.figures.items())
    return "\n  MISSED: ".join([f"{record.benchmark} ({setting}): {figures}", *record.missed])


def line_of(record: Record) -> dict[str, Any]:
    """A record as it is kept: with the date and the machine."""
    return {
        "benchmark": record.benchmark,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "setting": dict(record.setting),
        "figures": dict(record.figures),
        "missed": list(record.missed),
    }


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line to a file of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, allow_nan=False) + "\n")


def machine() -> dict[str, Any]:
    """What decides the speed here; nothing that names the machine or its user."""
    return {
        "cpu": cpu_model(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }


def cpu_model(info: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, as far as the system tells it."""
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def in_turn(sides: Sequence[tuple[Callable[[], Any], int]], rounds: int) -> list[tuple[float, Any]]:
    """Median seconds of some functions, called in turn so that a busy moment hits all of them, and what each returned.

    Args:
        sides: Functions, and how often each is called in a round.
        rounds: How many rounds.
    """
    seconds: list[list[float]] = [[] for _ in sides]
    returned: list[Any] = [None for _ in sides]
    for _ in range(rounds):
        for side, (call, often) in enumerate(sides):
            for _ in range(often):
                began = time.perf_counter()
                returned[side] = call()
                seconds[side].append(time.perf_counter() - began)
    return [(statistics.median(taken), value) for taken, value in zip(seconds, returned, strict=True)]


def misses(figures: Mapping[str, float], *, least: Mapping[str, float], most: Mapping[str, float]) -> list[str]:
    """A line for every figure that is below what it should be at least or above what it may be at most."""
    below = [(name, f"{limit:g} or more") for name, limit in least.items() if not figures[name] >= limit]
    above = [(name, f"{limit:g} or less") for name, limit in most.items() if not figures[name] <= limit]
    return [f"{name} is {figures[name]:.3g}, wanted {wanted}" for name, wanted in below + above]


def kept_bytes(forward: Callable[[], Tensor], apart: Iterable[Tensor] = ()) -> tuple[Tensor, int]:
    """What a forward pass gives, and the bytes that autograd keeps of it for the backward pass.

    A storage counts once, and whole, however many of its views are kept. What is recomputed in the backward pass
    (torch.utils.checkpoint) counts with its inputs only.

    Args:
        forward: The pass.
        apart: What was there before and does not count: weights, inputs.
    """
    sizes: dict[int, int] = {}  # by address: what is kept stays where it is until the backward pass

    def keep(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor.detach()  # the tensor itself would hold the graph that holds it

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        result = forward()
    before = {tensor.untyped_storage().data_ptr() for tensor in apart}
    return result, sum(size for address, size in sizes.items() if address not in before)


def peak_memory_gb() -> float:
    """The largest resident memory that this process has had so far, in 10^9 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9


def matrix_rate(side: int = 3072, times: int = 4, dtype: torch.dtype = torch.float32) -> float:
    """The best rate of a product of a large square matrix with itself, in GFLOP/s."""
    matrix = torch.randn(side, side, generator=torch.Generator().manual_seed(2)).to(dtype)
    best = min(in_turn([(lambda: matrix @ matrix, 1)], 1)[0][0] for _ in range(times))
    return 2 * side**3 / best / 1e9
