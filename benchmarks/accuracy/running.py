"""Run the parts of an experiment that have no results yet."""

from dataclasses import dataclass
from pathlib import Path

from vlprompt.data.features import FeatureStore
from vlprompt.errors import VlpromptError
from vlprompt.experiments import results_file
from vlprompt.experiments.results import Result
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.sweep.experiment import Experiment
from vlprompt.experiments.sweep.running import runs
from vlprompt.report import tables


class UnavailableError(VlpromptError):
    """An experiment's data or backbone is not on this machine."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of an experiment.

    Attributes:
        results: Of all its runs, in order.
        new: The number of runs that were executed now.
        table: The results as a table.
    """

    results: tuple[Result, ...]
    new: int
    table: str


def run(experiment: Experiment, file: Path, out: Path, *, fresh: bool = False, quiet: bool = False) -> Outcome:
    """Execute the runs without a result, and make the table.

    Args:
        experiment: What to run.
        file: The experiment's results, JSON lines; new ones are appended.
        out: Folder for prompts and unfinished runs.
        fresh: Repeat runs that have a result.
        quiet: No progress bars.

    Raises:
        UnavailableError: The data or the backbone is not on this machine.
        VlpromptError: A run failed; earlier results are saved.
    """
    try:
        tasks = experiment.open_tasks()
        backbone = experiment.open_backbone()
    except VlpromptError as error:
        raise UnavailableError(str(error)) from error
    before = len(saved(file))
    found: tuple[Result, ...] = ()
    for part in experiment.parts():
        runner = Runner(backbone, out, FeatureStore(), part.training, fresh=fresh, quiet=quiet, results=file)
        found += tuple(runs(part, runner, tasks))
    return Outcome(found, len(saved(file)) - before, table(experiment, found))


def saved(file: Path) -> list[Result]:
    """The results in a file; none where there is no file."""
    return results_file.read(file) if file.exists() else []


def table(experiment: Experiment, found: list[Result] | tuple[Result, ...]) -> str:
    """The table of an experiment's results."""
    return tables.BY_PROTOCOL[experiment.protocol](found)
