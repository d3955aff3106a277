"""Run an experiment, so far as its results are not there yet."""

from dataclasses import dataclass
from pathlib import Path

from vlprompt import results
from vlprompt.data.features import FeatureStore
from vlprompt.errors import VlpromptError
from vlprompt.report import tables
from vlprompt.results import Result
from vlprompt.runner import Bench
from vlprompt.sweep.experiment import Experiment
from vlprompt.sweep.running import runs


class AbsentError(VlpromptError):
    """An experiment's data or backbone is not on this machine."""


@dataclass(frozen=True)
class Outcome:
    """What came of an experiment.

    Attributes:
        results: Of all its runs, in their order.
        new: How many of them ran now.
        table: They as a table.
    """

    results: tuple[Result, ...]
    new: int
    table: str


def run(experiment: Experiment, kept: Path, out: Path, *, fresh: bool = False, quiet: bool = False) -> Outcome:
    """Run what has no result yet, and make the table.

    Args:
        experiment: What to run.
        kept: The file of its results, JSON lines; it only grows.
        out: Folder for prompts and unfinished runs.
        fresh: Run again what already has a result.
        quiet: No progress bars.

    Raises:
        AbsentError: The data or the backbone is not on this machine.
        VlpromptError: A run failed; results until then are kept.
    """
    try:
        tasks = experiment.open_tasks()
        backbone = experiment.open_backbone()
    except VlpromptError as error:
        raise AbsentError(str(error)) from error
    before = _lines(kept)
    found: tuple[Result, ...] = ()
    for part in experiment.parts():
        bench = Bench(backbone, out, FeatureStore(), part.training, fresh=fresh, quiet=quiet, results=kept)
        found += tuple(runs(part, bench, tasks))
    return Outcome(found, _lines(kept) - before, tables.BY_PROTOCOL[experiment.protocol](found))


def kept_table(experiment: Experiment, kept: Path) -> str:
    """The table of results that an earlier run, on whatever machine, has left; empty without any."""
    found = results.read(kept) if kept.exists() else []
    return tables.BY_PROTOCOL[experiment.protocol](found) if found else ""


def _lines(kept: Path) -> int:
    return len(results.read(kept)) if kept.exists() else 0
