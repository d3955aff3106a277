"""Run a sweep: every unit ends with results or a stored error, and the progress is reported."""

import json
import sys
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from vlprompt.errors import VlpromptError, warn
from vlprompt.experiments.results import Result
from vlprompt.experiments.sweep.cluster import WorkerPool, installed, run_units
from vlprompt.experiments.sweep.plan import Unit
from vlprompt.experiments.sweep.worker import UnitReport, Worker
from vlprompt.files import reason

LINE_SECONDS = 10.0  # between updates of the progress where stderr is not a terminal


@dataclass(frozen=True)
class SweepReport:
    """What happened in a sweep.

    Attributes:
        results: One for each run, also of those that were finished before.
        failures: A line for each run that failed: the run, and why.
    """

    results: tuple[Result, ...]
    failures: tuple[str, ...]


def sweep(
    units: Sequence[Unit], out: Path, pool: WorkerPool, *, fresh: bool = False, quiet: bool = False
) -> SweepReport:
    """Run all units; failures do not stop the rest, and are stored with their errors in `failures.jsonl` in `out`.

    Args:
        units: Single runs.
        out: Folder for results, prompts and the states of unfinished runs.
        pool: The workers; without Ray, this process runs everything.
        fresh: Repeat runs that have a result.
        quiet: Report no progress.

    Raises:
        VlpromptError: The workers cannot be started, or the file of failures cannot be written.
    """
    file = out / "failures.jsonl"
    file.unlink(missing_ok=True)  # what failed last time is tried again
    lines: dict[str, tuple[str, ...]] = {}
    failures: list[str] = []
    shown: set[str] = set()
    interval = 0.1 if sys.stderr.isatty() else LINE_SECONDS
    bar = tqdm(total=len(units), desc="runs", file=sys.stderr, disable=quiet, mininterval=interval)
    with bar, closing(_reports(units, out, pool, fresh=fresh)) as reports:
        for unit, report in reports:
            for text in set(report.warnings) - shown:
                warn(text)
            shown |= set(report.warnings)
            lines[unit.identity] = report.results
            if report.error:
                failures.append(f"{unit.label}: {report.error}")
                _save_failure(file, unit, report)
                bar.set_postfix(failed=len(failures), refresh=False)
            bar.update()
    found = [Result.from_json(line) for unit in units for line in lines[unit.identity]]
    return SweepReport(tuple({result.key: result for result in found}.values()), tuple(failures))


def _reports(
    units: Sequence[Unit], out: Path, pool: WorkerPool, *, fresh: bool
) -> Generator[tuple[Unit, UnitReport], None, None]:
    """All units with their reports.

    Raises:
        VlpromptError: There is an address of a cluster, and Ray is not installed.
    """
    if pool.needs_ray and installed():
        yield from run_units(units, pool, out, fresh=fresh)
        return
    hint = 'pip install "vlprompt[sweep]"'
    if pool.address:
        raise VlpromptError(f"Ray is not installed, so no cluster can be joined; run: {hint}.")
    if pool.needs_ray:
        warn(f"Ray is not installed, so the runs go one after the other in one process; for several, run: {hint}.")
    worker = Worker(out, fresh=fresh)
    for unit in units:
        yield unit, worker.run(unit)


def _save_failure(file: Path, unit: Unit, report: UnitReport) -> None:
    """Append a failure to the file of failures.

    Raises:
        VlpromptError: The file cannot be written.
    """
    line = {"run": unit.label, "error": report.error, "trace": report.trace, "unit": json.loads(unit.identity)}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")
    except OSError as error:
        raise VlpromptError(f"a failure could not be written to {file} ({reason(error)}); check the path.") from error
