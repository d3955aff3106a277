"""The table of knowledge probing: P@1 of every relation and their mean."""

import statistics
from collections.abc import Iterable, Sequence

from vlprompt.experiments.results import Result
from vlprompt.report.forms import Cell, Table
from vlprompt.report.series import Estimate, arrange, by_task

AMONG_OBJECTS = "top1"


def probing_table(results: Iterable[Result], form: str = "terminal", *, metric: str = "vocabulary_top1") -> str:
    """Results of `knowledge_probing`, a row for each learner.

    Columns: the mean over relations, then the relations, then the mean where only a relation's objects compete.
    """
    tasks = by_task(results, "knowledge_probing")
    rows: dict[str, dict[str, dict[str, Sequence[Result]]]] = {}  # {backbone: {label: {task: runs}}}
    for task, runs in tasks.items():
        for each in arrange(runs):
            rows.setdefault(each.backbone, {}).setdefault(each.label, {})[task] = each.only_column
    groups = (
        (backbone, tuple((label, _cells(runs, tuple(tasks), metric)) for label, runs in own.items()))
        for backbone, own in rows.items()
    )
    left_out = sum(int(runs[0].extra.get("left_out", 0)) for runs in tasks.values())
    caption = (
        "P@1 in percent over the whole vocabulary, mean over relations, then each; last, the mean among the objects of "
        f"a relation; {left_out} facts whose object has several word pieces are left out."
    )
    header = ("learner", "mean", *(task.rpartition("/")[2] for task in tasks), "among objects")
    return Table(caption, header, tuple(groups)).show(form)


def _cells(runs: dict[str, Sequence[Result]], tasks: Sequence[str], metric: str) -> tuple[Cell, ...]:
    each = [_percent(runs.get(task, ()), metric) for task in tasks]
    objects = [_percent(runs.get(task, ()), AMONG_OBJECTS) for task in tasks]
    return (_mean(each), *each, _mean(objects))


def _percent(runs: Sequence[Result], metric: str) -> Estimate | None:
    """The mean over seeds; None where a run lacks the metric, as those of older versions do."""
    values = [run.metrics.get(metric) for run in runs]
    known = [value for value in values if value is not None]
    return Estimate(100 * statistics.fmean(known)) if known and len(known) == len(values) else None


def _mean(cells: Sequence[Estimate | None]) -> Estimate | None:
    """The mean over relations; None where one is missing."""
    known = [cell.mean for cell in cells if cell is not None]
    return Estimate(statistics.fmean(known)) if len(known) == len(cells) else None
