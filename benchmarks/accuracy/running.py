"""Run an experiment, so far as its results are not there yet."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.accuracy.experiment import ADAPTATION, FEW_SHOT, Experiment
from vlprompt import results
from vlprompt.data.domains import read_pair
from vlprompt.data.features import FeatureStore
from vlprompt.errors import VlpromptError
from vlprompt.protocols import (
    base_to_new,
    cross_dataset,
    domain_adaptation,
    domain_shift,
    few_shot,
    test_time,
    zero_shot,
)
from vlprompt.report import tables
from vlprompt.results import Result
from vlprompt.runner import Bench

RUN: Mapping[str, Callable[..., Iterable[Result]]] = {
    FEW_SHOT: few_shot.run,
    "base_to_new": base_to_new.run,
    "cross_dataset": cross_dataset.run,
    "domain_shift": domain_shift.run,
    "zero_shot": zero_shot.run,
    "test_time": test_time.run,
    ADAPTATION: domain_adaptation.run,
}


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
        task, *targets = [experiment.open_task(what) for what in (experiment.task, *experiment.targets)]
        backbone = experiment.open_backbone()
    except VlpromptError as error:
        raise AbsentError(str(error)) from error
    before = _lines(kept)
    found: tuple[Result, ...] = ()
    for part in experiment.parts():
        bench = Bench(backbone, out, FeatureStore(), part.training, fresh=fresh, quiet=quiet, results=kept)
        found += tuple(RUN[part.protocol](bench, task, *_arguments(part, targets), **_options(part)))
    return Outcome(found, _lines(kept) - before, tables.BY_PROTOCOL[experiment.protocol](found))


def kept_table(experiment: Experiment, kept: Path) -> str:
    """The table of results that an earlier run, on whatever machine, has left; empty without any."""
    found = results.read(kept) if kept.exists() else []
    return tables.BY_PROTOCOL[experiment.protocol](found) if found else ""


def _arguments(experiment: Experiment, targets: Sequence[Any]) -> list[Any]:
    return [*([targets] if targets else []), experiment.entries()]


def _options(experiment: Experiment) -> dict[str, Any]:
    """What replaces the protocol's own."""
    options: dict[str, Any] = {"shots": experiment.shots, "seeds": experiment.seeds or None}
    options["grid"] = experiment.grid or None
    options["pseudo"] = experiment.entries(experiment.pseudo) if experiment.pseudo else None
    options["pairs"] = [read_pair(pair) for pair in experiment.pairs] or None
    return {name: option for name, option in options.items() if option is not None}


def _lines(kept: Path) -> int:
    return len(results.read(kept)) if kept.exists() else 0
