"""Sort results into series: a row of a table, a line of a plot. Runs in different settings never share a cell."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from vlprompt.errors import UsageError, unknown
from vlprompt.metrics import interval95
from vlprompt.results import ALL_SHOTS, Result


@dataclass(frozen=True)
class Cell:
    """A mean over seeds, in percent or in seconds.

    Attributes:
        mean: The mean.
        half: Half-width of the 95 % interval; None for one seed.
        seeds: How many.
        digits: How many to show after the point.
    """

    mean: float
    half: float | None
    seeds: int
    digits: int = 1


@dataclass(frozen=True)
class Series:
    """A learner in one setting on one backbone.

    Attributes:
        backbone: Its name, with the fingerprint where two weights share the name.
        label: "coop", "coop (paper)", "coop (n_ctx=4)".
        runs: {column: one result per seed}.
    """

    backbone: str
    label: str
    runs: Mapping[int, tuple[Result, ...]]

    @property
    def learns(self) -> bool:
        """Whether any of its runs saw a training image."""
        return any(run.shots for members in self.runs.values() for run in members)


def cell(values: Sequence[float]) -> Cell:
    """Mean and interval of fractions, one per seed."""
    mean, half = interval95(values)
    return Cell(100 * mean, None if half is None else 100 * half, len(values))


def seeds(cells: Iterable[Cell]) -> str:
    """Over how many seeds the cells with an interval are: "3", "2 to 3", or empty where there is none."""
    counts = sorted({each.seeds for each in cells} - {1})
    return " to ".join(map(str, dict.fromkeys([*counts[:1], *counts[-1:]])))


def tuned(series: Series) -> str | None:
    """What a method learns, in percent of the frozen model's parameters, two digits; None where it was not noted."""
    shares = [run.tuned for members in series.runs.values() for run in members if run.tuned is not None]
    return f"{100 * max(shares):.{2 if max(shares) < 0.995 else 3}g}" if shares else None  # 100, not 1e+02


def value(run: Result, metric: str) -> float:
    """A metric of a run.

    Raises:
        UsageError: The run does not have it; the error names those it has.
    """
    if metric not in run.metrics:
        raise unknown(f"metric of {run.learner} on {run.task}", metric, run.metrics)
    return run.metrics[metric]


def by_task(results: Iterable[Result], *protocols: str) -> dict[str, list[Result]]:
    """Results by task, tasks in order, the latest of each key.

    Args:
        results: Any results, oldest first.
        protocols: The first of these that has any result is the one that counts.

    Raises:
        UsageError: There is no such result.
    """
    latest = {run.key: run for run in results}
    for protocol in protocols:
        runs = sorted((run for run in latest.values() if run.protocol == protocol), key=lambda run: run.task)
        if runs:
            return {task: list(group) for task, group in groupby(runs, key=lambda run: run.task)}
    raise UsageError(f"there is no result of {' or '.join(protocols)} to show; run that first.")


def arrange(runs: Sequence[Result], column: Callable[[Result], int]) -> list[Series]:
    """Sort runs into series: by backbone, then what needs no training, then by label.

    Args:
        runs: Results of one task.
        column: Where a run belongs in its series; runs of one series and column differ by seed only.
    """
    title = _titles(runs)
    methods: dict[tuple[str, str, str], list[Result]] = {}
    for run in runs:
        methods.setdefault((title[run.backbone, run.fingerprint], run.learner, run.variant), []).append(run)
    found = []
    for (backbone, learner, variant), group in methods.items():
        for setting, members in _by_setting(group, column).items():
            words = [variant] * bool(variant) + list(setting)
            label = f"{learner} ({', '.join(words)})" if words else learner
            found.append(Series(backbone, label, _columns(members, column)))
    return sorted(found, key=lambda each: (each.backbone, each.learns, each.label))


def in_order(shots: Iterable[int]) -> list[int]:
    """Numbers of shots, each once, fewest first; all there are come last."""
    return sorted(set(shots), key=lambda at: math.inf if at == ALL_SHOTS else at)


def _titles(runs: Sequence[Result]) -> dict[tuple[str, str], str]:
    """{(name, fingerprint): name}, with the fingerprint in the name where the name alone is ambiguous."""
    pairs = {(run.backbone, run.fingerprint) for run in runs}
    names = [name for name, _ in pairs]
    return {(name, print_): f"{name} [{print_[:8]}]" if names.count(name) > 1 else name for name, print_ in pairs}


def _by_setting(runs: Sequence[Result], column: Callable[[Result], int]) -> dict[tuple[str, ...], list[Result]]:
    """Runs of one method by the settings that differ within some column; what differs across columns only is a recipe.

    (CoOp trains 50, 100 or 200 epochs depending on the shots: one row. Two learning rates at 16 shots: two rows.)
    """
    seen: dict[tuple[int, str], set[str]] = {}
    settings = [_settings(run) for run in runs]
    names = sorted({name for setting in settings for name in setting})
    for run, setting in zip(runs, settings, strict=True):
        for name in names:
            seen.setdefault((column(run), name), set()).add(setting.get(name, "none"))
    varying = [name for name in names if any(len(seen[column(run), name]) > 1 for run in runs)]
    groups: dict[tuple[str, ...], list[Result]] = {}
    for run, setting in zip(runs, settings, strict=True):
        words = tuple(f"{name}={setting.get(name, 'none')}" for name in varying)
        groups.setdefault(words, []).append(run)
    return groups


def _settings(run: Result) -> dict[str, str]:
    """Everything that decides a run's outcome but the method, the backbone, the data and the seed."""
    training = {name: item for name, item in run.train_config.items() if name != "seed"}
    clash = {f"train.{name}": item for name, item in training.items() if name in run.config}
    own = {"shots": run.shots, "precision": run.precision, "augment": run.augment, "classes": run.classes}
    return {name: _short(item) for name, item in (own | training | clash | dict(run.config)).items()}


def _short(item: Any) -> str:
    if isinstance(item, float):
        return f"{item:.12g}"  # 0.1 * 0.0003 is 3e-05
    return item if isinstance(item, str) and item else json.dumps(item)


def _columns(runs: Sequence[Result], column: Callable[[Result], int]) -> dict[int, tuple[Result, ...]]:
    """{column: one run per seed, the latest}, columns and seeds in order."""
    cells: dict[int, dict[int, Result]] = {}
    for run in runs:
        cells.setdefault(column(run), {})[run.seed] = run
    return {at: tuple(cells[at][seed] for seed in sorted(cells[at])) for at in in_order(cells)}
