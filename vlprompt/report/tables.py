"""Results as tables: mean and 95 % interval over seeds, in percent; a table for each task."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby

from vlprompt.metrics import harmonic_mean, interval95
from vlprompt.report.continual import continual_table
from vlprompt.report.forms import Row, Table, table_of
from vlprompt.report.probing import probing_table
from vlprompt.report.sensitivity import sensitivity_table
from vlprompt.report.series import Cell, Series, arrange, by_task, cell, in_order, tuned, value
from vlprompt.results import ALL_SHOTS, Result


def few_shot_table(results: Iterable[Result], form: str = "terminal", *, metric: str = "top1") -> str:
    """A row for each learner, a column for each number of shots; zero-shot is 0 shots.

    Args:
        results: Any results, oldest first; those of `few_shot` count, or of `zero_shot` where there are none. The
            latest of equal runs is shown.
        form: "terminal", "markdown" or "latex".
        metric: What the cells show.

    Raises:
        UsageError: There is nothing to show, a run lacks the metric, or the form is not known.
    """
    tasks = by_task(results, "few_shot", "zero_shot")
    return "\n\n".join(_by_shots(task, runs, metric).show(form) for task, runs in tasks.items())


def base_to_new_table(results: Iterable[Result], form: str = "terminal", *, metric: str = "top1") -> str:
    """A row for each learner; columns: classes trained on, classes never seen, and the harmonic mean H of the two.

    H is that of the averages over seeds, as published tables have it; its interval is that of the H of each seed.

    Args:
        results: Any results, oldest first; those of `base_to_new` count. The latest of equal runs is shown.
        form: "terminal", "markdown" or "latex".
        metric: Read from the metrics `base_METRIC` and `new_METRIC`.

    Raises:
        UsageError: There is nothing to show, a run lacks the metric, or the form is not known.
    """
    tasks = by_task(results, "base_to_new")
    return "\n\n".join(_base_to_new(task, runs, metric).show(form) for task, runs in tasks.items())


def transfer_table(
    results: Iterable[Result], form: str = "terminal", *, protocol: str = "cross_dataset", metric: str = "top1"
) -> str:
    """A row for each learner; columns: the task trained on, the others it was judged on, and the others' average.

    Args:
        results: Any results, oldest first; those of `protocol` count. The latest of equal runs is shown.
        form: "terminal", "markdown" or "latex".
        protocol: "cross_dataset" or "domain_shift".
        metric: Read from the metrics `TASK_METRIC`.

    Raises:
        UsageError: There is nothing to show, a run lacks the metric, or the form is not known.
    """
    tasks = by_task(results, protocol)
    return "\n\n".join(_transfer(task, runs, metric).show(form) for task, runs in tasks.items())


def pairs_table(results: Iterable[Result], form: str = "terminal", *, protocol: str = "domain_adaptation") -> str:
    """A row for each pair of domains (or each domain left out) and for their average, a column for each learner.

    The average is taken within each seed, and its interval over seeds. Cells show class means where the data set is
    judged so (VisDA-17), else top-1. Where no target has labels, a line says so.

    Args:
        results: Any results, oldest first; those of `protocol` count. The latest of equal runs is shown.
        form: "terminal", "markdown" or "latex".
        protocol: "domain_adaptation" or "leave_one_out".

    Raises:
        UsageError: There is nothing to show, or the form is not known.
    """
    sections: dict[str, list[Result]] = {}
    for task, runs in by_task(results, protocol).items():
        sections.setdefault(task.rpartition("/")[0], []).extend(runs)
    return "\n\n".join(each for title, runs in sections.items() for each in _by_pair(title, runs, form))


def _by_pair(title: str, runs: Sequence[Result], form: str) -> list[str]:
    """The tables of one data set, one for each backbone."""
    metric = runs[0].extra.get("metric", "top1")
    judged = [run for run in runs if run.metrics]
    if not judged:
        return [f"{title}: no target has labels, so there is no accuracy; look under predictions/."]
    pairs = sorted({_pair(run) for run in judged})
    tables = []
    for backbone, group in groupby(arrange(judged, lambda run: pairs.index(_pair(run))), lambda each: each.backbone):
        series = list(group)
        rows = [(pair, tuple(_cell_at(each, at, metric) for each in series)) for at, pair in enumerate(pairs)]
        rows.append(("average", tuple(_average(each, len(pairs), metric) for each in series)))
        columns = [each.label for each in series]
        table = table_of(f"{title}: {metric} in percent", columns, [(backbone, row) for row in rows], "domains")
        tables.append(table.show(form))
    return tables


def _pair(run: Result) -> str:
    return run.task.rpartition("/")[2]


def _cell_at(series: Series, column: int, metric: str) -> Cell | None:
    runs = series.runs.get(column)
    return cell([value(run, metric) for run in runs]) if runs else None


def _average(series: Series, columns: int, metric: str) -> Cell | None:
    """Over all columns, within each seed; None where a column or a seed is missing."""
    seeds_of = {tuple(run.seed for run in runs) for runs in series.runs.values()}
    if len(series.runs) < columns or len(seeds_of) > 1:
        return None
    by_seed = zip(*series.runs.values(), strict=True)
    return cell([math.fsum(value(run, metric) for run in runs) / columns for runs in by_seed])


def stream_table(results: Iterable[Result], form: str = "terminal", *, metric: str = "top1") -> str:
    """A row for each learner; columns: accuracy before and after adapting, the gain, calibration errors, seconds.

    The gain is that of each seed; online learners are marked, since their answers depend on the order of the images.

    Args:
        results: Any results, oldest first; those of `test_time` count. The latest of equal runs is shown.
        form: "terminal", "markdown" or "latex".
        metric: The accuracy that is shown, `METRIC` and `before_METRIC`.

    Raises:
        UsageError: There is nothing to show, or the form is not known.
    """
    tasks = by_task(results, "test_time")
    return "\n\n".join(_test_time(task, runs, metric).show(form) for task, runs in tasks.items())


def _test_time(task: str, runs: Sequence[Result], metric: str) -> Table:
    rows = [(each.backbone, _test_time_row(each, metric)) for each in arrange(runs, lambda _: 0)]
    header = [f"{metric} before", "after", "gain", "ECE before", "after", "s/image"]
    what = f"{task}: {metric} and calibration error (15 bins of equal width) in percent, before and after adapting"
    bare = "" if any(run.metrics for run in runs) else "; no label is known, so there is no accuracy"
    return table_of(what + bare, header, rows)


def _test_time_row(series: Series, metric: str) -> Row:
    (runs,) = series.runs.values()
    error = "ece_15_equal_width"
    before, after = _values(runs, f"before_{metric}"), _values(runs, metric)
    gains = [b - a for a, b in zip(before, after, strict=True)] if before else []
    columns = [before, after, gains, _values(runs, f"before_{error}"), _values(runs, error)]
    seconds = [float(run.extra["seconds_per_image"]) for run in runs]
    mean, half = interval95(seconds)
    adaptation = str(runs[0].extra["adaptation"])
    label = series.label if adaptation == "none" else f"{series.label}, {adaptation}"
    return label, (*(cell(values) if values else None for values in columns), Cell(mean, half, len(runs), digits=5))


def _values(runs: Sequence[Result], metric: str) -> list[float]:
    """A metric of every run that has it: none of what does not adapt has one from before."""
    return [run.metrics[metric] for run in runs if metric in run.metrics]


def _transfer(task: str, runs: Sequence[Result], metric: str) -> Table:
    ending = f"_{metric}"
    parts = list(dict.fromkeys(key.removesuffix(ending) for run in runs for key in run.metrics if key.endswith(ending)))
    rows = [(each.backbone, _transfer_row(each, parts, ending)) for each in arrange(runs, lambda _: 0)]
    header = [f"{parts[0]} (source)", *parts[1:], "average of the others"]
    return table_of(f"trained on {task}: {metric} in percent", header, rows)


def _transfer_row(series: Series, parts: Sequence[str], ending: str) -> Row:
    (runs,) = series.runs.values()
    each = [[value(run, part + ending) for run in runs] for part in parts]
    average = [math.fsum(others) / len(others) for others in zip(*each[1:], strict=True)]
    return series.label, (*(cell(values) for values in each), cell(average))


def _by_shots(task: str, runs: Sequence[Result], metric: str) -> Table:
    columns = in_order(run.shots for run in runs)
    header = ["all" if at == ALL_SHOTS else f"{at} shot{'s' * (at != 1)}" for at in columns]
    rows = []
    for each in arrange(runs, lambda run: run.shots):
        cells = {at: cell([value(run, metric) for run in members]) for at, members in each.runs.items()}
        rows.append((each.backbone, (each.label, (*(cells.get(at) for at in columns), tuned(each)))))
    if any(row[-1] for _, (_, row) in rows):
        return table_of(f"{task}: {metric} in percent", [*header, "tuned %"], rows)
    return table_of(f"{task}: {metric} in percent", header, [(b, (label, row[:-1])) for b, (label, row) in rows])


def _base_to_new(task: str, runs: Sequence[Result], metric: str) -> Table:
    rows = [(each.backbone, _base_new_h(each, metric)) for each in arrange(runs, lambda _: 0)]
    return table_of(f"{task}: {metric} in percent, H of the averages", ["base", "new", "H"], rows)


def _base_new_h(series: Series, metric: str) -> Row:
    (runs,) = series.runs.values()
    base = [value(run, f"base_{metric}") for run in runs]
    new = [value(run, f"new_{metric}") for run in runs]
    spread = cell([harmonic_mean(b, n) for b, n in zip(base, new, strict=True)])
    means = cell(base), cell(new)
    return series.label, (*means, Cell(harmonic_mean(means[0].mean, means[1].mean), spread.half, spread.seeds))


BY_PROTOCOL: Mapping[str, Callable[..., str]] = {
    "zero_shot": few_shot_table,
    "few_shot": few_shot_table,
    "base_to_new": base_to_new_table,
    "cross_dataset": transfer_table,
    "domain_shift": partial(transfer_table, protocol="domain_shift"),
    "leave_one_out": partial(pairs_table, protocol="leave_one_out"),
    "domain_adaptation": pairs_table,
    "test_time": stream_table,
    "continual": continual_table,
    "template_sensitivity": sensitivity_table,
    "knowledge_probing": probing_table,
}
