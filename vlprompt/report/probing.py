"""The table of knowledge probing: P@1 of every relation and their mean."""

import statistics
from collections.abc import Iterable

from vlprompt.report.forms import Table
from vlprompt.report.series import Cell, arrange, by_task, value
from vlprompt.results import Result


def probing_table(results: Iterable[Result], form: str = "terminal", *, metric: str = "top1") -> str:
    """A row for each learner; columns: their mean, each relation counting the same, then the relations.

    Args:
        results: Any results, oldest first; those of `knowledge_probing` count. The latest of equal runs is shown.
        form: "terminal", "markdown" or "latex".
        metric: What the cells show.

    Raises:
        UsageError: There is nothing to show, a run lacks the metric, or the form is not known.
    """
    tasks = by_task(results, "knowledge_probing")
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for task, runs in tasks.items():
        for each in arrange(runs, lambda _: 0):
            values = [value(run, metric) for members in each.runs.values() for run in members]
            rows.setdefault((each.backbone, each.label), {})[task] = 100 * statistics.fmean(values)
    names = [task.rpartition("/")[2] for task in tasks]
    backbones = dict.fromkeys(backbone for backbone, _ in rows)
    groups = tuple(
        (backbone, tuple((label, _cells(found, list(tasks))) for (of, label), found in rows.items() if of == backbone))
        for backbone in backbones
    )
    left = sum({task: int(runs[0].extra.get("left_out", 0)) for task, runs in tasks.items()}.values())
    caption = f"P@1 in percent; objects of several pieces are left out ({left} facts); mean over relations, then each."
    return Table(caption, ("learner", "mean", *names), groups).show(form)


def _cells(found: dict[str, float], tasks: list[str]) -> tuple[Cell | None, ...]:
    each = tuple(Cell(found[task], None, 1) if task in found else None for task in tasks)
    mean = Cell(statistics.fmean(found.values()), None, 1) if len(found) == len(tasks) else None
    return (mean, *each)
