"""Run units in many worker processes on one machine or a cluster, through Ray (the extra `sweep`).

Each worker is an actor that keeps its model in memory. A worker that dies is restarted, and its unit is tried again, up
to `TRIES` times. A worker writes results to disk before it reports them, so nothing is lost if the driver dies.
"""

import importlib.util
import os
import socket
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlprompt.errors import VlpromptError, warn
from vlprompt.experiments.sweep.plan import Unit
from vlprompt.experiments.sweep.worker import UnitReport, Worker

TRIES = 3
STORE_BYTES = 100 * 2**20  # Ray's object store; only units and reports go through it


@dataclass(frozen=True)
class WorkerPool:
    """The workers of a sweep.

    Attributes:
        workers: How many; 0: as many as the cores allow.
        threads: CPU threads of each.
        gpus: GPUs of each, as 0.25 for four workers on one.
        address: Of a Ray cluster (HOST:PORT, or auto); empty: this machine.
    """

    workers: int = 0
    threads: int = 1
    gpus: float = 0.0
    address: str = ""

    @property
    def needs_ray(self) -> bool:
        """Whether there is more than this process."""
        return bool(self.address) or self.workers != 1


def installed() -> bool:
    """Whether Ray is installed."""
    return importlib.util.find_spec("ray") is not None


def run_units(
    units: Sequence[Unit], pool: WorkerPool, out: Path, *, fresh: bool = False
) -> Iterator[tuple[Unit, UnitReport]]:
    """Run all units; yield each with its report, in the order in which they end.

    Args:
        units: What to run.
        pool: The workers.
        out: Folder for results, prompts and the states of unfinished runs; on a cluster, one that all nodes share.
        fresh: Repeat runs that have a result.

    Raises:
        VlpromptError: No cluster at the address, or no worker can be started.
    """
    with _connected(pool) as ray:
        kind = ray.remote(num_cpus=pool.threads, num_gpus=pool.gpus, max_restarts=-1)(Worker)
        options = {"fresh": fresh, "threads": pool.threads, "folder": Path.cwd()}
        workers = [kind.remote(out.resolve(), **options) for _ in range(_size(ray, pool, len(units)))]
        yield from _Schedule(ray, workers, deque(units)).run()


@contextmanager
def _connected(pool: WorkerPool) -> Iterator[Any]:
    """Ray, connected to a cluster or started on this machine; it is shut down at the end.

    Raises:
        VlpromptError: There is no cluster at the address.
    """
    _check_answers(pool.address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    workers = pool.workers or max(1, (os.cpu_count() or 1) // pool.threads)
    own = {} if pool.address else {"num_cpus": workers * pool.threads, "object_store_memory": STORE_BYTES}
    try:
        ray.init(pool.address or "local", include_dashboard=False, log_to_driver=False, logging_level="error", **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        what = f"join a Ray cluster at {pool.address}" if pool.address else "start Ray"
        raise VlpromptError(f"could not {what} ({str(error).partition(chr(10))[0]}).") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Connect to HOST:PORT first, since Ray itself would try for minutes.

    Raises:
        VlpromptError: Nothing answers.
    """
    host, _, port = address.rpartition(":")
    if host and "/" not in host and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise VlpromptError(
                f"could not join a Ray cluster at {address} ({error}); start one with `ray start --head` and give its "
                "HOST:PORT."
            ) from error


def _size(ray: Any, pool: WorkerPool, units: int) -> int:
    """How many workers to start: at most as many as there are units, or as fit on the machines."""
    resources = ray.cluster_resources()
    room = int(resources.get("CPU", 0) // pool.threads)
    if pool.gpus:
        room = min(room, int(resources.get("GPU", 0) / pool.gpus + 1e-6))
    if not room:
        raise VlpromptError(
            f"there is no room for a worker with {pool.threads} threads and {pool.gpus:g} GPUs: Ray has "
            f"{resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs."
        )
    if pool.workers > room:
        warn(f"there is room for {room} of the {pool.workers} workers.")
    return max(1, min(pool.workers or room, room, units))


@dataclass
class _Schedule:
    """Which worker does what at the moment."""

    ray: Any
    idle: list[Any]
    waiting: deque[Unit]
    busy: dict[Any, tuple[Any, Unit]] = field(default_factory=dict)  # by the future of a report
    starting: dict[Any, Any] = field(default_factory=dict)  # workers by the future of their start
    deaths: Counter[str] = field(default_factory=Counter)

    def run(self) -> Iterator[tuple[Unit, UnitReport]]:
        """Run all units."""
        self.starting = {worker.ready.remote(): worker for worker in self.idle}
        self.idle = []
        while self.waiting or self.busy:
            while self.waiting and self.idle:
                unit, worker = self.waiting.popleft(), self.idle.pop()
                self.busy[worker.run.remote(unit)] = (worker, unit)
            (future,), _ = self.ray.wait([*self.busy, *self.starting], num_returns=1)
            if future in self.starting:
                self._started(future)
            else:
                yield from self._ended(future)

    def _started(self, future: Any) -> None:
        """Handle a worker that has started, or could not start.

        Raises:
            VlpromptError: It could not, and there is no other.
        """
        worker = self.starting.pop(future)
        try:
            self.ray.get(future)
            self.idle.append(worker)
        except self.ray.exceptions.RayError as error:
            self.deaths[repr(worker)] += 1
            if self.deaths[repr(worker)] < TRIES:
                self.starting[worker.ready.remote()] = worker
            elif not (self.idle or self.busy or self.starting):
                raise VlpromptError(f"no worker can be started ({_reason(error)}).") from error

    def _ended(self, future: Any) -> Iterator[tuple[Unit, UnitReport]]:
        """Handle a unit that is done, or whose worker has died: then both start again, up to `TRIES` times."""
        worker, unit = self.busy.pop(future)
        try:
            yield unit, self.ray.get(future)
            self.idle.append(worker)
        except self.ray.exceptions.RayError as error:
            self.starting[worker.ready.remote()] = worker
            self.deaths[unit.identity] += 1
            if self.deaths[unit.identity] < TRIES:
                self.waiting.appendleft(unit)
            else:
                yield unit, UnitReport(error=f"its worker died {TRIES} times ({_reason(error)})")


def _reason(error: Exception) -> str:
    """Ray's reason for a death, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
