"""A table for each task: mean and 95 % interval over seeds, in percent; and which table belongs to which protocol."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from vlprompt.experiments.results import ALL_SHOTS, Result
from vlprompt.experiments.statistics import harmonic_mean
from vlprompt.report.continual import continual_table
from vlprompt.report.domains import pairs_table
from vlprompt.report.forms import Row, Table, show_by_task, table_of, without_labels
from vlprompt.report.probing import probing_table
from vlprompt.report.sensitivity import sensitivity_table
from vlprompt.report.series import Estimate, Series, arrange, estimate, sorted_shots, trainable_percent, value
from vlprompt.report.streams import stream_table


def few_shot_table(results: Iterable[Result], form: str = "terminal", *, metric: str = "top1") -> str:
    """Results of `few_shot` (or `zero_shot`): a row for each learner, a column for each number of shots."""
    return show_by_task(results, form, partial(_few_shot, metric=metric), "few_shot", "zero_shot")


def base_to_new_table(results: Iterable[Result], form: str = "terminal", *, metric: str = "top1") -> str:
    """Results of `base_to_new`: a row for each learner; columns: base classes, new classes, their harmonic mean H.

    H is computed from the averages over seeds, as in published tables; its interval is that of the H of each seed. The
    cells show `base_METRIC` and `new_METRIC`.
    """
    return show_by_task(results, form, partial(_base_to_new, metric=metric), "base_to_new")


def transfer_table(
    results: Iterable[Result], form: str = "terminal", *, protocol: str = "cross_dataset", metric: str = "top1"
) -> str:
    """A row for each learner; columns: the source task, the target tasks, and the average over the targets.

    Shows `TASK_METRIC` of results of a protocol: "cross_dataset" or "domain_shift".
    """
    return show_by_task(results, form, partial(_transfer, metric=metric), protocol)


def _few_shot(task: str, runs: Sequence[Result], metric: str) -> Table:
    if not any(run.metrics for run in runs):
        return without_labels(task, runs)
    columns = sorted_shots(run.shots for run in runs)
    header = ["all" if shots == ALL_SHOTS else f"{shots} shot{'s' * (shots != 1)}" for shots in columns]
    rows = []
    for series in arrange(runs, lambda run: run.shots):
        cells = {at: estimate([value(run, metric) for run in members]) for at, members in series.runs.items()}
        rows.append((series.backbone, (series.label, (*map(cells.get, columns), trainable_percent(series)))))
    if any(cells[-1] for _, (_, cells) in rows):
        header.append("trainable %")
    else:
        rows = [(backbone, (label, cells[:-1])) for backbone, (label, cells) in rows]
    return table_of(f"{task}: {metric} in percent", header, rows)


def _base_to_new(task: str, runs: Sequence[Result], metric: str) -> Table:
    if not any(run.metrics for run in runs):
        return without_labels(task, runs)
    rows = [(series.backbone, _base_to_new_row(series, metric)) for series in arrange(runs)]
    return table_of(f"{task}: {metric} in percent, H of the averages", ["base", "new", "H"], rows)


def _base_to_new_row(series: Series, metric: str) -> Row:
    base, new = ([value(run, f"{part}_{metric}") for run in series.only_column] for part in ("base", "new"))
    spread = estimate([harmonic_mean(b, n) for b, n in zip(base, new, strict=True)])
    means = estimate(base), estimate(new)
    mean = harmonic_mean(means[0].mean, means[1].mean)
    return series.label, (*means, Estimate(mean, spread.half_width, spread.seeds))


def _transfer(task: str, runs: Sequence[Result], metric: str) -> Table:
    if not any(run.metrics for run in runs):
        return without_labels(task, runs)
    ending = f"_{metric}"
    tasks = list(dict.fromkeys(key.removesuffix(ending) for run in runs for key in run.metrics if key.endswith(ending)))
    rows = [(series.backbone, _transfer_row(series, tasks, ending)) for series in arrange(runs)]
    header = [f"{tasks[0]} (source)", *tasks[1:], "average of targets"]
    return table_of(f"trained on {task}: {metric} in percent", header, rows)


def _transfer_row(series: Series, tasks: Sequence[str], ending: str) -> Row:
    values = [[value(run, task + ending) for run in series.only_column] for task in tasks]
    average = [math.fsum(targets) / len(targets) for targets in zip(*values[1:], strict=True)]
    return series.label, (*map(estimate, values), estimate(average))


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
