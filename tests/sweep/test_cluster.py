"""Sweeps by Ray: the same numbers as in one process, through the deaths of workers and of the driver.

Everything runs in processes of its own, on ports and in folders of its own, and is ended by its process ids.
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

from tests.sweep.conftest import GRID, RUNS
from vlprompt import results
from vlprompt.sweep.cluster import Crew
from vlprompt.sweep.drive import sweep
from vlprompt.sweep.plan import read_sweep, units

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray (the extra sweep)")
PATIENCE = 240  # seconds, for a machine that does other things too
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def wanted(photos: Path, environment: dict[str, str]) -> dict[str, dict[str, float]]:
    """The metrics of all runs, in order in one process."""
    (photos / "grid.toml").write_text(GRID)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(photos)
        patch.setenv("VLPROMPT_CACHE", environment["VLPROMPT_CACHE"])
        swept = sweep(units(read_sweep(photos / "grid.toml")), photos / "in-order", Crew(workers=1), quiet=True)
    assert len(swept.results) == RUNS
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
    """The processes that a process has started, and those that they have, with their command lines."""
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


def lines(out: Path) -> int:
    file = out / "results.jsonl"
    return len(file.read_bytes().splitlines()) if file.exists() else 0


def until(true: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    """Wait, but not for a process that has ended."""
    began = time.monotonic()
    while not true():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() - began < PATIENCE
        time.sleep(0.02)


def finished(process: "subprocess.Popen[str]") -> str:
    """What a process that must end well has said on stderr."""
    try:
        _, said = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        end([process])
        raise
    assert process.returncode == 0, said
    return said


def metrics(out: Path) -> dict[str, dict[str, float]]:
    return {result.key: dict(result.metrics) for result in results.read(out / "results.jsonl")}


def test_two_workers_give_the_metrics_of_one_process(
    wanted: dict[str, dict[str, float]], start: Start, tmp_path: Path, short: Path
) -> None:
    """And a run that fails is kept beside them."""
    failing = GRID.replace('"linear_probe"]', '"linear_probe", "tpt+linear_probe"]')
    process = start("--out", str(tmp_path), "--workers", "2", grid=failing, RAY_TMPDIR=str(short))
    try:
        _, said = process.communicate(timeout=PATIENCE)
    finally:
        end([process])
    assert process.returncode == 1, said
    assert metrics(tmp_path) == wanted
    assert lines(tmp_path) == RUNS
    assert f"30 of {RUNS + 30} runs failed" in said
    assert len((tmp_path / "failures.jsonl").read_text().splitlines()) == 30
    assert "Traceback" not in said


def test_two_nodes_lose_nothing_to_the_deaths_of_a_worker_and_of_the_driver(
    wanted: dict[str, dict[str, float]], environment: dict[str, str], start: Start, tmp_path: Path, short: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    common = ["--num-cpus=1", "--object-store-memory=100000000", "--node-ip-address=127.0.0.1", "--block"]
    ports = ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"]
    head = ["--head", f"--port={port}", f"--temp-dir={short}", "--include-dashboard=false"]
    nodes: list[subprocess.Popen[str]] = []

    def node(*arguments: str) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *common, *ports, *arguments]
        with (short / f"node{len(nodes)}.log").open("w") as log:
            nodes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, text=True))

    try:
        node(*head)
        until(lambda: _answers(port), nodes[0])
        node(f"--address={address}")
        until(lambda: "Ray runtime started" in (short / "node1.log").read_text(), nodes[1])
        sweeping = start("--out", str(tmp_path), "--address", address)
        nodes.append(sweeping)
        until(lambda: lines(tmp_path) >= 5, sweeping)
        workers = [pid for each in nodes[:2] for pid, line in below(each.pid).items() if line.startswith("ray::Worker")]
        assert len(workers) == 2, "one on each node"
        os.kill(workers[0], signal.SIGKILL)
        reached = lines(tmp_path)
        until(lambda: lines(tmp_path) >= reached + 5, sweeping)
        sweeping.send_signal(signal.SIGKILL)
        sweeping.communicate()
        assert lines(tmp_path) < RUNS, "it was killed on the way"
        nodes[2] = start("--out", str(tmp_path), "--address", address)
        said = finished(nodes[2])
    finally:
        end(nodes)
    assert metrics(tmp_path) == wanted
    assert f"{RUNS} of {RUNS} runs done" in said


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_an_address_without_a_cluster_is_one_line(start: Start, tmp_path: Path) -> None:
    process = start("--out", str(tmp_path), "--address", "127.0.0.1:1")
    try:
        _, said = process.communicate(timeout=PATIENCE)
    finally:
        end([process])
    assert process.returncode == 1
    assert "could not join a Ray cluster at 127.0.0.1:1" in said
    assert "Traceback" not in said
