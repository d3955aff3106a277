"""Units done by many worker processes on one machine or a cluster, through Ray (the extra `sweep`).

Each worker is an actor that keeps its model. One that dies is started again and its unit with it, some times over: what
kills every worker that touches it is given up. What is done is on disk before it is told here, so a driver that dies
loses nothing.
"""

import importlib.util
import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlprompt.errors import VlpromptError, warn
from vlprompt.sweep.plan import Unit
from vlprompt.sweep.worker import Outcome, Worker

TRIES = 3
STORE_BYTES = 100 * 2**20  # Ray's own store; what goes through it here is small


@dataclass(frozen=True)
class Crew:
    """The workers that are wanted.

    Attributes:
        workers: How many; 0: as many as there are cores for.
        threads: CPU threads of each.
        gpus: GPUs of each, as 0.25 for four workers on one.
        address: Of a Ray cluster (HOST:PORT, or auto); empty: this machine.
    """

    workers: int = 0
    threads: int = 1
    gpus: float = 0.0
    address: str = ""

    @property
    def needed(self) -> bool:
        """Whether it is more than one process here."""
        return bool(self.address) or self.workers != 1


def installed() -> bool:
    """Whether Ray is there."""
    return importlib.util.find_spec("ray") is not None


def outcomes(units: Sequence[Unit], crew: Crew, out: Path, *, fresh: bool = False) -> Iterator[tuple[Unit, Outcome]]:
    """Do all units; yield each with what came of it, in the order in which they end.

    Args:
        units: What to do.
        crew: By whom.
        out: Folder for results, prompts and the states of unfinished runs; on a cluster, one that all nodes share.
        fresh: Run again what already has a result.

    Raises:
        VlpromptError: No cluster at the address, or no worker can be started.
    """
    with _joined(crew) as ray:
        kind = ray.remote(num_cpus=crew.threads, num_gpus=crew.gpus, max_restarts=-1)(Worker)
        options = {"fresh": fresh, "threads": crew.threads, "folder": Path.cwd()}
        made = [kind.remote(out.resolve(), **options) for _ in range(_size(ray, crew, len(units)))]
        yield from _Shift(ray, made, deque(units)).work()


@contextmanager
def _joined(crew: Crew) -> Iterator[Any]:
    """Ray, connected to a cluster or to processes of its own, and let go afterwards.

    Raises:
        VlpromptError: There is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    workers = crew.workers or max(1, (os.cpu_count() or 1) // crew.threads)
    own = {} if crew.address else {"num_cpus": workers * crew.threads, "object_store_memory": STORE_BYTES}
    try:
        ray.init(crew.address or "local", include_dashboard=False, log_to_driver=False, logging_level="error", **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"join a Ray cluster at {crew.address}" if crew.address else "start Ray"
        raise VlpromptError(f"could not {where} ({str(error).partition(chr(10))[0]}).") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _size(ray: Any, crew: Crew, units: int) -> int:
    """How many workers to start: no more than there is room or work for."""
    there = ray.cluster_resources()
    room = int(there.get("CPU", 0) // crew.threads)
    if crew.gpus:
        room = min(room, int(there.get("GPU", 0) / crew.gpus + 1e-6))
    if not room:
        raise VlpromptError(
            f"there is no room for a worker with {crew.threads} threads and {crew.gpus:g} GPUs: Ray has "
            f"{there.get('CPU', 0):g} CPUs and {there.get('GPU', 0):g} GPUs."
        )
    if crew.workers > room:
        warn(f"there is room for {room} of the {crew.workers} workers.")
    return max(1, min(crew.workers or room, room, units))


@dataclass
class _Shift:
    """Who does what at the moment."""

    ray: Any
    idle: list[Any]
    left: deque[Unit]
    busy: dict[Any, tuple[Any, Unit]] = field(default_factory=dict)  # by the promise of an outcome
    starting: dict[Any, Any] = field(default_factory=dict)  # workers by the promise that they are ready
    deaths: Counter[str] = field(default_factory=Counter)

    def work(self) -> Iterator[tuple[Unit, Outcome]]:
        """Do all there is."""
        self.starting = {worker.ready.remote(): worker for worker in self.idle}
        self.idle = []
        while self.left or self.busy:
            while self.left and self.idle:
                unit, worker = self.left.popleft(), self.idle.pop()
                self.busy[worker.run.remote(unit)] = (worker, unit)
            (promise,), _ = self.ray.wait([*self.busy, *self.starting], num_returns=1)
            if promise in self.starting:
                self._started(promise)
            else:
                yield from self._ended(promise)

    def _started(self, promise: Any) -> None:
        """A worker is ready, or will never be.

        Raises:
            VlpromptError: It will not, and there is no other.
        """
        worker = self.starting.pop(promise)
        try:
            self.ray.get(promise)
            self.idle.append(worker)
        except self.ray.exceptions.RayError as error:
            self.deaths[repr(worker)] += 1
            if self.deaths[repr(worker)] < TRIES:
                self.starting[worker.ready.remote()] = worker
            elif not (self.idle or self.busy or self.starting):
                raise VlpromptError(f"no worker can be started ({_reason(error)}).") from error

    def _ended(self, promise: Any) -> Iterator[tuple[Unit, Outcome]]:
        """A unit is done, or its worker has died: then both begin again, unless that happened too often."""
        worker, unit = self.busy.pop(promise)
        try:
            yield unit, self.ray.get(promise)
            self.idle.append(worker)
        except self.ray.exceptions.RayError as error:
            self.starting[worker.ready.remote()] = worker
            self.deaths[unit.identity] += 1
            if self.deaths[unit.identity] < TRIES:
                self.left.appendleft(unit)
            else:
                yield unit, Outcome(error=f"its worker died {TRIES} times ({_reason(error)})")


def _reason(error: Exception) -> str:
    """What Ray says of a death, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
