"""Take a benchmark's measurements: timing of alternatives in turn, memory, and the rate of matrix products."""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from benchmarks.speed.common import records
from benchmarks.speed.common.records import RESULTS
from vlprompt.backbones.matmul import fast_matmul
from vlprompt.experiments.results import peak_memory_mb


def take(benchmark: ModuleType, *, quick: bool, results: Path | None) -> int:
    """Take a benchmark's measurements, print them and append them to the results.

    Args:
        benchmark: Its module; `run(quick)` yields records. With `FAST_MATMUL = True` matrices are multiplied as in
            `fit`; otherwise as torch does by default, so that both sides of a ratio use the same library.
        quick: Measure a tiny model.
        results: The file to append to; None: none.

    Returns:
        1 where a measurement misses its target or a ratio fell by more than 15 %, else 0.
    """
    earlier = [] if quick else records.committed(RESULTS)
    faults = 0
    with fast_matmul() if getattr(benchmark, "FAST_MATMUL", False) else default_matmul():
        for record in benchmark.run(quick):
            line = record.as_line()
            slower = records.slower(line, earlier)
            print("\n  SLOWER: ".join([str(record), *slower]), flush=True)
            faults += len(record.missed) + len(slower)
            if results:
                records.append(results, line)
    return int(faults > 0)


@contextmanager
def default_matmul() -> Iterator[None]:
    """While open, torch multiplies with the library of its own choice, also in `fit` and `evaluate`."""
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


def in_turn(sides: Sequence[tuple[Callable[[], Any], int]], rounds: int) -> list[tuple[float, Any]]:
    """Median seconds of some functions and what each returned; calls alternate, so other load affects all of them.

    Args:
        sides: Functions, and how often each is called in a round.
        rounds: Number of rounds.
    """
    seconds: list[list[float]] = [[] for _ in sides]
    returned: list[Any] = [None for _ in sides]
    for _ in range(rounds):
        for side, (call, calls) in enumerate(sides):
            for _ in range(calls):
                began = time.perf_counter()
                returned[side] = call()
                seconds[side].append(time.perf_counter() - began)
    return [(statistics.median(taken), value) for taken, value in zip(seconds, returned, strict=True)]


def compared(ours: float, plain: float) -> dict[str, float]:
    """The figures of two sides: our seconds, the baseline's, and their ratio."""
    return {"ours_s": ours, "plain_s": plain, "times_faster": plain / ours}


def kept_bytes(forward: Callable[[], Tensor], exclude: Iterable[Tensor] = ()) -> tuple[Tensor, int]:
    """The result of a forward pass, and the bytes that autograd saves of it for the backward pass.

    A storage counts once, and whole, however many of its views are saved. What is recomputed in the backward pass
    (torch.utils.checkpoint) counts with its inputs only.

    Args:
        forward: The pass.
        exclude: Tensors that existed before and do not count: weights, inputs.
    """
    sizes: dict[int, int] = {}  # by address: a saved storage does not move before the backward pass

    def pack(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor.detach()  # the tensor itself would hold the graph that holds it

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    before = {tensor.untyped_storage().data_ptr() for tensor in exclude}
    return result, sum(size for address, size in sizes.items() if address not in before)


def peak_memory_gb() -> float:
    """The largest resident memory of this process so far, in 10^9 bytes."""
    return peak_memory_mb() * 2**20 / 1e9


def matrix_rate(side: int = 3072, times: int = 4, dtype: torch.dtype = torch.float32) -> float:
    """The best rate of a product of a large square matrix with itself, in GFLOP/s."""
    matrix = torch.randn(side, side, generator=torch.Generator().manual_seed(2)).to(dtype)
    best = min(in_turn([(lambda: matrix @ matrix, 1)], 1)[0][0] for _ in range(times))
    return 2 * side**3 / best / 1e9
