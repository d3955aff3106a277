"""Group results into series: a row of a table, a line of a plot. Runs with different settings never share a cell."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlprompt.errors import UsageError, unknown
from vlprompt.experiments.results import ALL_SHOTS, Result
from vlprompt.experiments.statistics import interval95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, in percent or in seconds.

    Attributes:
        mean: The mean.
        half_width: Half-width of the 95 % interval; None for one seed.
        seeds: Number of seeds.
        digits: Decimals to show.
    """

    mean: float
    half_width: float | None = None
    seeds: int = 1
    digits: int = 1


@dataclass(frozen=True)
class Series:
    """A learner with one setting on one backbone.

    Attributes:
        backbone: Its name, with the fingerprint where two backbones have the same name.
        label: "coop", "coop (paper)", "coop (n_ctx=4)".
        runs: {column: one result per seed}.
    """

    backbone: str
    label: str
    runs: Mapping[int, tuple[Result, ...]]

    @property
    def only_column(self) -> tuple[Result, ...]:
        """The results of a series with one column."""
        (runs,) = self.runs.values()
        return runs

    @property
    def is_trained(self) -> bool:
        """Whether any of its runs used training images."""
        return any(run.shots for runs in self.runs.values() for run in runs)


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and interval, in percent, of fractions that have one value per seed."""
    mean, half_width = interval95(values)
    return Estimate(100 * mean, None if half_width is None else 100 * half_width, len(values))


def seed_counts(estimates: Iterable[Estimate]) -> str:
    """The numbers of seeds of estimates with an interval: "3", "2 to 3", or empty where there are none."""
    counts = sorted({each.seeds for each in estimates} - {1})
    return " to ".join(map(str, dict.fromkeys([*counts[:1], *counts[-1:]])))


def trainable_percent(series: Series) -> str | None:
    """Trainable parameters in percent of the frozen model's, two digits; None where results do not state them."""
    shares = [run.trainable_share for runs in series.runs.values() for run in runs if run.trainable_share is not None]
    return f"{100 * max(shares):.{2 if max(shares) < 0.995 else 3}g}" if shares else None  # 100, not 1e+02


def value(run: Result, metric: str) -> float:
    """A metric of a run.

    Raises:
        UsageError: The run does not have it; the error lists those it has.
    """
    if metric not in run.metrics:
        raise unknown(f"metric of {run.learner} on {run.task}", metric, run.metrics)
    return run.metrics[metric]


def by_task(results: Iterable[Result], *protocols: str) -> dict[str, list[Result]]:
    """Results by data set, in alphabetical order, the latest of each key.

    A data set is named like its task; where two have the same name, a part of the hash of their data follows.

    Args:
        results: Any results, oldest first.
        protocols: The first of these that has results is used.

    Raises:
        UsageError: There is no such result.
    """
    latest = {run.key: run for run in results}
    for protocol in protocols:
        runs = sorted((run for run in latest.values() if run.protocol == protocol), key=lambda run: run.task)
        if runs:
            titles = data_titles(runs, lambda run: run.task)
            groups: dict[str, list[Result]] = {}
            for run in runs:
                groups.setdefault(titles[run.task, run.data_hash], []).append(run)
            return groups
    raise UsageError(f"there is no result of {' or '.join(protocols)} to show; run that protocol first.")


def data_titles(runs: Iterable[Result], name: Callable[[Result], str]) -> dict[tuple[str, str], str]:
    """{(name, hash of the data): title}: the name, with a part of the hash where other data have the same name."""
    pairs = dict.fromkeys((name(run), run.data_hash) for run in runs)
    names = [own for own, _ in pairs]
    return {
        (own, mark): f"{own} [data {mark[:8] or 'unknown'}]" if names.count(own) > 1 else own for own, mark in pairs
    }


def arrange(runs: Sequence[Result], column: Callable[[Result], int] = lambda _: 0) -> list[Series]:
    """Group runs into series, sorted by backbone, then untrained before trained ones, then by label.

    Args:
        runs: Results of one task.
        column: The column of a run in its series; runs in one column of a series differ by seed only.
    """
    titles = _backbone_titles(runs)
    methods: dict[tuple[str, str, str], list[Result]] = {}
    for run in runs:
        methods.setdefault((titles[run.backbone, run.fingerprint], run.learner, run.variant), []).append(run)
    found = []
    for (backbone, learner, variant), group in methods.items():
        for setting, members in _by_setting(group, column).items():
            words = [variant] * bool(variant) + list(setting)
            label = f"{learner} ({', '.join(words)})" if words else learner
            found.append(Series(backbone, label, _columns(members, column)))
    return sorted(found, key=lambda each: (each.backbone, each.is_trained, each.label))


def sorted_shots(shots: Iterable[int]) -> list[int]:
    """Numbers of shots, each once, fewest first; "all" is last."""
    return sorted(set(shots), key=lambda number: math.inf if number == ALL_SHOTS else number)


def _backbone_titles(runs: Sequence[Result]) -> dict[tuple[str, str], str]:
    """{(name, fingerprint): name}, with the fingerprint in the name where the name alone is ambiguous."""
    pairs = {(run.backbone, run.fingerprint) for run in runs}
    names = [name for name, _ in pairs]
    return {(name, mark): f"{name} [{mark[:8]}]" if names.count(name) > 1 else name for name, mark in pairs}


def _by_setting(runs: Sequence[Result], column: Callable[[Result], int]) -> dict[tuple[str, ...], list[Result]]:
    """Runs of one method by the settings that differ within a column.

    Settings that differ between columns only are one row: CoOp's epochs depend on the shots. Two learning rates at 16
    shots are two rows.
    """
    settings = [_settings(run) for run in runs]
    for fact in ("examples", "split_hash"):  # equal settings on other examples are another row
        if _differs_within_a_seed(runs, settings, column, fact):
            settings = [own | {fact: str(getattr(run, fact))[:8]} for run, own in zip(runs, settings, strict=True)]
    names = sorted({name for setting in settings for name in setting})
    seen: dict[tuple[int, str], set[str]] = {}
    for run, setting in zip(runs, settings, strict=True):
        for name in names:
            seen.setdefault((column(run), name), set()).add(setting.get(name, "none"))
    varying = [name for name in names if any(len(seen[column(run), name]) > 1 for run in runs)]
    groups: dict[tuple[str, ...], list[Result]] = {}
    for run, setting in zip(runs, settings, strict=True):
        groups.setdefault(tuple(f"{name}={setting.get(name, 'none')}" for name in varying), []).append(run)
    return groups


def _differs_within_a_seed(
    runs: Sequence[Result], settings: Sequence[Mapping[str, str]], column: Callable[[Result], int], fact: str
) -> bool:
    """Whether two runs that would share a place in the table differ in a fact."""
    places: dict[tuple[Any, ...], set[Any]] = {}
    for run, own in zip(runs, settings, strict=True):
        places.setdefault((column(run), run.seed, tuple(sorted(own.items()))), set()).add(getattr(run, fact))
    return any(len(values) > 1 for values in places.values())


def _settings(run: Result) -> dict[str, str]:
    """Everything that determines a run's outcome except the method, the backbone, the data and the seed."""
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
    return {at: tuple(cells[at][seed] for seed in sorted(cells[at])) for at in sorted_shots(cells)}
