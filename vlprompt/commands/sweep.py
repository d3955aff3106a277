"""The command `vlprompt sweep`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from vlprompt.commands.output import print_tables
from vlprompt.errors import UsageError, VlpromptError

if TYPE_CHECKING:
    from vlprompt.experiments.sweep.drive import SweepReport


def run(
    grid: Positional[Path],
    out: Path = Path("runs"),
    workers: int = 0,
    threads: int = 1,
    gpus: float = 0.0,
    address: str = "",
    fresh: bool = False,
    list: bool = False,  # noqa: A002
    json: bool = False,
) -> None:
    """Run a grid of experiments in several processes or on a cluster.

    The grid is protocols x learners x tasks x shots x seeds. Runs that have a result are not repeated, so the same
    command continues after an interruption.

    Args:
        grid: A TOML file; docs/sweeps.md describes its fields.
        out: Folder for results, prompts and failures.jsonl; on a cluster, one that all machines share.
        workers: Number of processes. 0: one per core; 1: this process only.
        threads: CPU threads of each process.
        gpus: GPUs of each process, as 0.25 for four processes on one. The grid then has device = "cuda".
        address: Address of a Ray cluster (HOST:PORT, or auto) that `ray start` has started.
        fresh: Repeat runs that already have a result.
        list: Print the runs without running them.
        json: Print one JSON line per result instead of tables.
    """
    from vlprompt.experiments.sweep.cluster import WorkerPool
    from vlprompt.experiments.sweep.drive import sweep
    from vlprompt.experiments.sweep.plan import read_sweep, units
    from vlprompt.training.distributed import current_processes

    if min(workers, threads - 1, gpus) < 0:
        raise UsageError(
            f"workers {workers}, threads {threads}, gpus {gpus:g}: threads must be 1 or more, the others 0 or more."
        )
    if current_processes().size > 1:
        raise UsageError("a sweep starts its own processes; run it without torchrun, with --workers.")
    found = units(read_sweep(grid))
    if list:
        print(*(unit.label for unit in found), sep="\n")
        return
    _print(sweep(found, out, WorkerPool(workers, threads, gpus, address), fresh=fresh, quiet=json), out, as_json=json)


def _print(report: "SweepReport", out: Path, *, as_json: bool) -> None:
    """Print the results of a sweep, then its failures.

    Raises:
        VlpromptError: Some runs failed.
    """
    if as_json:
        print(*(result.to_json() for result in report.results), sep="\n")
    else:
        print_tables(report.results)
        print(f"results in {out / 'results.jsonl'}")
    for failure in report.failures:
        print(f"vlprompt: failed: {failure}", file=sys.stderr)
    if report.failures:
        runs = len(report.results) + len(report.failures)
        raise VlpromptError(f"{len(report.failures)} of {runs} runs failed; see {out / 'failures.jsonl'}.")
