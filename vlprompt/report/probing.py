"""The table of knowledge probing: P@1 of every relation and their mean."""

import statistics
from collections.abc import Iterable, Mapping

from vlprompt.experiments.results import Result
from vlprompt.report.forms import Cell, Table
from vlprompt.report.series import Estimate, arrange, by_task, value


def probing_table(results: Iterable[Result], form: str = "terminal", *, metric: str = "top1") -> str:
    """Results of `knowledge_probing`: a row for each learner; columns: the mean over relations, then the relations."""
    tasks = by_task(results, "knowledge_probing")
    rows: dict[str, dict[str, dict[str, float]]] = {}  # {backbone: {label: {task: percent}}}
    for task, runs in tasks.items():
        for each in arrange(runs):
            values = [value(run, metric) for run in each.only_column]
            rows.setdefault(each.backbone, {}).setdefault(each.label, {})[task] = 100 * statistics.fmean(values)
    groups = (
        (backbone, tuple((label, _cells(row, tasks)) for label, row in own.items())) for backbone, own in rows.items()
    )
    left_out = sum(int(runs[0].extra.get("left_out", 0)) for runs in tasks.values())
    caption = f"P@1 in percent, mean over relations, then each; {left_out} facts whose object has several word pieces"
    header = ("learner", "mean", *(task.rpartition("/")[2] for task in tasks))
    return Table(f"{caption} are left out.", header, tuple(groups)).show(form)


def _cells(percents: Mapping[str, float], tasks: Iterable[str]) -> tuple[Cell, ...]:
    each = tuple(Estimate(percents[task]) if task in percents else None for task in tasks)
    return (None if None in each else Estimate(statistics.fmean(percents.values())), *each)
