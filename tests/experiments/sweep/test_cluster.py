"""Sweeps through Ray: the same numbers as in one process, also when workers and the driver are killed.

Everything runs in separate processes, on separate ports and in separate folders, and is ended by its process ids. Tests
wait for conditions, never for a time: `PATIENCE` only ends a test that would hang.
"""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.experiments.sweep.conftest import GRID, RUNS
from vlprompt.experiments import results_file
from vlprompt.experiments.sweep.cluster import WorkerPool
from vlprompt.experiments.sweep.drive import sweep
from vlprompt.experiments.sweep.plan import read_sweep, units

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray (the extra sweep)")
PATIENCE = 3600  # seconds
Start = Callable[..., "subprocess.Popen[str]"]

# A user's method whose two runs, the last ones of the grid, wait until a file exists.
GATE = """
import os
import time
from dataclasses import dataclass
from pathlib import Path

from vlprompt import Needs, PromptLearner, TrainConfig, Variant
from vlprompt.learners import ZeroShot


@dataclass(frozen=True)
class GateConfig:
    pass


class Gate(PromptLearner):
    Config = GateConfig
    needs = Needs(ordered=True)

    def prepare(self, train, val):
        while not Path(os.environ["GATE"]).exists():
            time.sleep(0.02)

    def forward(self, batch):
        return ZeroShot(self.backbone, self.classes)(batch)


VARIANTS = {"waits": Variant(GateConfig(), TrainConfig(epochs=0, augment="none"))}
"""
GATED = GRID + '[[part]]\nlearners = ["gate.py:Gate"]\nshots = [1]\nseeds = [1, 2]\n'


def metrics_in_order(grid: str, photos: Path, environment: dict[str, str], out: str) -> dict[str, dict[str, float]]:
    """The metrics of all runs, in order in one process."""
    (photos / "grid.toml").write_text(grid)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(photos)
        patch.setenv("VLPROMPT_CACHE", environment["VLPROMPT_CACHE"])
        patch.setenv("GATE", str(photos))
        swept = sweep(units(read_sweep(photos / "grid.toml")), photos / out, WorkerPool(workers=1), quiet=True)
    assert not swept.failures
    return {result.key: dict(result.metrics) for result in swept.results}


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for the names of sockets (107 bytes in all)."""
    folder = Path(tempfile.mkdtemp(prefix="vp", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def parents() -> dict[int, tuple[int, str]]:
    """The parent and the command line of every process."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            found[int(folder.name)] = int(fields[1]), (folder / "cmdline").read_text().replace("\0", " ")
        except (OSError, UnicodeDecodeError):
            continue
    return found


def below(root: int) -> dict[int, str]:
    """The processes that a process has started, and those that they have started, with their command lines."""
    known = parents()
    found: dict[int, str] = {}
    layer = {root}
    while layer:
        layer = {pid for pid, (parent, _) in known.items() if parent in layer}
        found |= {pid: known[pid][1] for pid in layer}
    return found


def end(processes: "list[subprocess.Popen[str]]") -> None:
    """End some processes and all below them."""
    pids = [pid for process in processes for pid in (process.pid, *below(process.pid))]
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    for process in processes:
        process.communicate()


def workers_below(nodes: "list[subprocess.Popen[str]]") -> set[int]:
    """Process ids of the workers of a sweep."""
    return {pid for node in nodes for pid, line in below(node.pid).items() if line.startswith("ray::Worker")}


def lines(out: Path) -> int:
    file = out / "results.jsonl"
    return len(file.read_bytes().splitlines()) if file.exists() else 0


def until(true: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    """Wait for a condition, but not for a process that has ended."""
    began = time.monotonic()
    while not true():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() - began < PATIENCE
        time.sleep(0.02)


def stderr_of(process: "subprocess.Popen[str]", code: int) -> str:
    """The error output of a process that must end with an exit code."""
    try:
        _, text = process.communicate(timeout=PATIENCE)
    finally:
        end([process])
    assert process.returncode == code, text
    assert "Traceback" not in text
    return text


def metrics(out: Path) -> dict[str, dict[str, float]]:
    return {result.key: dict(result.metrics) for result in results_file.read(out / "results.jsonl")}


def test_two_workers_give_the_metrics_of_one_process(
    photos: Path, environment: dict[str, str], start: Start, tmp_path: Path, short: Path
) -> None:
    """And a run that fails is stored beside them."""
    wanted = metrics_in_order(GRID, photos, environment, "in-order")
    assert len(wanted) == RUNS
    failing = GRID.replace('"linear_probe"]', '"linear_probe", "tpt+linear_probe"]')
    process = start("--out", str(tmp_path), "--workers", "2", grid=failing, RAY_TMPDIR=str(short))
    text = stderr_of(process, 1)
    assert metrics(tmp_path) == wanted
    assert lines(tmp_path) == RUNS
    assert f"30 of {RUNS + 30} runs failed" in text
    assert len((tmp_path / "failures.jsonl").read_text().splitlines()) == 30


def test_two_nodes_lose_nothing_when_a_worker_and_the_driver_are_killed(
    photos: Path, environment: dict[str, str], start: Start, tmp_path: Path, short: Path
) -> None:
    """Both workers wait in the last two runs, which need a file, while one of them and then the driver is killed."""
    (photos / "gate.py").write_text(GATE)
    wanted = metrics_in_order(GATED, photos, environment, "gated-in-order")
    assert len(wanted) == RUNS + 2
    gate = short / "gate"
    address, port = _free_address()
    common = ["--num-cpus=1", "--object-store-memory=100000000", "--node-ip-address=127.0.0.1", "--block"]
    ports = ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"]
    head = ["--head", f"--port={port}", f"--temp-dir={short}", "--include-dashboard=false"]
    nodes: list[subprocess.Popen[str]] = []

    def node(*arguments: str) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *common, *ports, *arguments]
        own = {**environment, "GATE": str(gate)}
        with (short / f"node{len(nodes)}.log").open("w") as log:
            nodes.append(subprocess.Popen(command, env=own, stdout=log, stderr=log, text=True))

    try:
        node(*head)
        until(lambda: _answers(port), nodes[0])
        node(f"--address={address}")
        until(lambda: "Ray runtime started" in (short / "node1.log").read_text(), nodes[1])
        sweeping = start("--out", str(tmp_path), "--address", address, grid=GATED)
        nodes.append(sweeping)
        until(lambda: lines(tmp_path) == RUNS, sweeping)
        workers = workers_below(nodes[:2])
        assert len(workers) == 2, "one on each node"
        killed = min(workers)
        os.kill(killed, signal.SIGKILL)
        until(lambda: len(workers_below(nodes[:2]) - {killed}) == 2, sweeping)  # a new one has started
        sweeping.send_signal(signal.SIGKILL)
        sweeping.communicate()
        assert lines(tmp_path) == RUNS
        gate.touch()
        nodes[2] = start("--out", str(tmp_path), "--address", address, grid=GATED)
        text = stderr_of(nodes[2], 0)
    finally:
        end(nodes)
    assert metrics(tmp_path) == wanted
    assert lines(tmp_path) == RUNS + 2
    assert f"{RUNS + 2}/{RUNS + 2}" in text


def _free_address() -> tuple[str, int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    return f"127.0.0.1:{port}", port


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_an_address_without_a_cluster_is_one_line(start: Start, tmp_path: Path) -> None:
    process = start("--out", str(tmp_path), "--address", "127.0.0.1:1")
    assert "could not join a Ray cluster at 127.0.0.1:1" in stderr_of(process, 1)
