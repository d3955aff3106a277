"""A sweep from its file to its end: every unit done or its error kept, and how far it is told on the way."""

import json
import math
import sys
import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from vlprompt.errors import VlpromptError, warn
from vlprompt.results import Result
from vlprompt.sweep.cluster import Crew, installed, outcomes
from vlprompt.sweep.plan import Unit
from vlprompt.sweep.worker import Outcome, Worker

SAY_SECONDS = 10.0  # where lines cannot be written over


@dataclass(frozen=True)
class Swept:
    """What came of a sweep.

    Attributes:
        results: One for each run, those that were there before among them.
        failures: A line for each run that failed: what it was, and why.
    """

    results: tuple[Result, ...]
    failures: tuple[str, ...]


def sweep(units: Sequence[Unit], out: Path, crew: Crew, *, fresh: bool = False, quiet: bool = False) -> Swept:
    """Do all units; those that fail are kept with their errors in `failures.jsonl` in `out`, and the rest goes on.

    Args:
        units: Single runs.
        out: Folder for results, prompts and the states of unfinished runs.
        crew: Who does them; without Ray, this process, one after the other.
        fresh: Run again what already has a result.
        quiet: Do not say how far it is.

    Raises:
        VlpromptError: The workers cannot be started, or the file of failures cannot be written.
    """
    file = out / "failures.jsonl"
    file.unlink(missing_ok=True)  # what failed last time is tried again
    lines: dict[str, tuple[str, ...]] = {}
    failures: list[str] = []
    told: set[str] = set()
    progress = _Progress(len(units), silent=quiet)
    with closing(_done(units, out, crew, fresh=fresh)) as done:
        for unit, outcome in done:
            for text in set(outcome.warnings) - told:
                warn(text)
            told |= set(outcome.warnings)
            lines[unit.identity] = outcome.results
            if outcome.error:
                failures.append(f"{unit.label}: {outcome.error}")
                _keep(file, unit, outcome)
            progress.step(failed=bool(outcome.error))
    found = [Result.from_json(line) for unit in units for line in lines[unit.identity]]
    return Swept(tuple({result.key: result for result in found}.values()), tuple(failures))


def _done(units: Sequence[Unit], out: Path, crew: Crew, *, fresh: bool) -> Generator[tuple[Unit, Outcome], None, None]:
    """All units with their outcomes, by the workers that there are.

    Raises:
        VlpromptError: A cluster is asked for and Ray is not installed.
    """
    if crew.needed and installed():
        yield from outcomes(units, crew, out, fresh=fresh)
        return
    hint = 'pip install "vlprompt[sweep]"'
    if crew.address:
        raise VlpromptError(f"Ray is not installed, so no cluster can be joined; run: {hint}.")
    if crew.needed:
        warn(f"Ray is not installed, so the runs go one after the other in one process; for several, run: {hint}.")
    worker = Worker(out, fresh=fresh)
    for unit in units:
        yield unit, worker.run(unit)


def _keep(file: Path, unit: Unit, outcome: Outcome) -> None:
    """Add a failure to the file of them.

    Raises:
        VlpromptError: The file cannot be written.
    """
    line = {"run": unit.label, "error": outcome.error, "trace": outcome.trace, "unit": json.loads(unit.identity)}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")
    except OSError as error:
        raise VlpromptError(f"{file} could not take a failure ({error.strerror}); check the path.") from error


@dataclass
class _Progress:
    """How many runs are done and how long the rest will take, on stderr."""

    total: int
    silent: bool = False
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    done: int = 0
    failed: int = 0
    said: float = -math.inf
    ends: deque[float] = field(default_factory=lambda: deque([time.monotonic()], maxlen=50))  # the last units' only

    def step(self, *, failed: bool) -> None:
        """One more is done."""
        self.done, self.failed = self.done + 1, self.failed + failed
        self.ends.append(time.monotonic())
        terminal = self.stream.isatty()
        if self.silent or not (terminal or self.done == self.total or self.ends[-1] - self.said >= SAY_SECONDS):
            return
        self.said = self.ends[-1]
        end = "\n" if not terminal or self.done == self.total else ""
        print("\r\x1b[K" * terminal + self.line(), end=end, file=self.stream, flush=True)

    def line(self) -> str:
        """How far it is, in words."""
        each = (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1)
        left = _duration(each * (self.total - self.done))
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.done} of {self.total} runs done{failed}" + (f", about {left} left" * (self.done < self.total))


def _duration(seconds: float) -> str:
    """A time in the unit that fits it."""
    for size, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} seconds"


def listed(units: Iterable[Unit]) -> str:
    """The runs, a line each."""
    return "\n".join(unit.label for unit in units)
