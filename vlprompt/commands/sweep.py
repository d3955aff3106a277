"""The command `vlprompt sweep`."""

import sys
from pathlib import Path

from tyro.conf import Positional

from vlprompt.errors import UsageError, VlpromptError
from vlprompt.parallel import started
from vlprompt.report import tables
from vlprompt.sweep.cluster import Crew
from vlprompt.sweep.drive import listed, sweep
from vlprompt.sweep.plan import read_sweep, units


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
    """Run a whole grid, protocols x learners x tasks x shots x seeds, in several processes or on a cluster.

    Runs that have a result are not run again, so the same command goes on after a stop of any kind.

    Args:
        grid: A TOML file; `vlprompt/sweep/plan.py` and README.md say what stands in it.
        out: Folder for results, prompts and failures.jsonl; on a cluster, one that all machines share.
        workers: Processes; 0: as many as there are cores; 1: this one, one run after the other.
        threads: CPU threads of each process.
        gpus: GPUs of each process, as 0.25 for four on one; the grid says device = "cuda".
        address: Of a Ray cluster (HOST:PORT, or auto), started with `ray start`.
        fresh: Run again what already has a result.
        list: Say what would be run; run nothing.
        json: Print result lines instead of tables.
    """
    if min(workers, threads - 1, gpus) < 0:
        raise UsageError(
            f"workers {workers}, threads {threads}, gpus {gpus:g}: threads must be 1 or more, the others 0 or more."
        )
    if started().size > 1:
        raise UsageError("a sweep starts its own processes; run it without torchrun, with --workers.")
    found = units(read_sweep(grid))
    if list:
        print(listed(found))
        return
    swept = sweep(found, out, Crew(workers, threads, gpus, address), fresh=fresh, quiet=json)
    if json:
        print(*(result.to_json() for result in swept.results), sep="\n")
    else:
        for protocol, table in tables.BY_PROTOCOL.items():
            if own := [result for result in swept.results if result.protocol == protocol]:
                print(table(own), end="\n\n")
        print(f"results in {out / 'results.jsonl'}")
    for failure in swept.failures:
        print(f"vlprompt: failed: {failure}", file=sys.stderr)
    if swept.failures:
        raise VlpromptError(f"{len(swept.failures)} of {len(found)} runs failed; {out / 'failures.jsonl'} says why.")
