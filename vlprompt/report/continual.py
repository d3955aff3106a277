"""Tables of tasks that are learned one after another."""

from collections.abc import Iterable, Sequence

from vlprompt.report.forms import Row, Table, table_of
from vlprompt.report.series import Cell, Series, arrange, by_task, cell, tuned
from vlprompt.results import Result

COLUMNS = {
    "average_accuracy": "average",
    "average_accuracy_curve_mean": "curve mean",
    "forgetting_max": "forgetting_max",
    "forgetting_chaudhry": "forgetting_chaudhry",
    "backward_transfer": "backward_transfer",
    "forgetting_stepwise": "forgetting_stepwise",
}


def continual_table(results: Iterable[Result], form: str = "terminal") -> str:
    """A row for each learner: accuracies averaged over tasks, and forgetting by each definition; then their matrices.

    What is trained on all tasks at once has an average only.

    Args:
        results: Any results, oldest first; those of `continual` count. The latest of equal runs is shown.
        form: "terminal", "markdown" or "latex".

    Raises:
        UsageError: There is nothing to show, or the form is not known.
    """
    shown = []
    for task, runs in by_task(results, "continual").items():
        series = arrange(runs, lambda _: 0)
        rows = [(each.backbone, (each.label, (*_averages(each), tuned(each)))) for each in series]
        shown.append(table_of(f"{task}: top1 in percent", [*COLUMNS.values(), "tuned %"], rows).show(form))
        shown += [_matrix(task, each).show(form) for each in series if mean_matrix(each)]
    return "\n\n".join(shown)


def mean_matrix(series: Series) -> list[list[Cell]]:
    """Accuracy on task i after task t, over seeds; empty where all tasks were learned at once."""
    (runs,) = series.runs.values()
    matrices = [run.extra["matrix"] for run in runs if "matrix" in run.extra]
    if not matrices:
        return []
    return [[cell([each[t][i] for each in matrices]) for i in range(len(row))] for t, row in enumerate(matrices[0])]


def curve(series: Series) -> list[Cell]:
    """The average accuracy after each task, over seeds."""
    (runs,) = series.runs.values()
    matrices = [run.extra["matrix"] for run in runs if "matrix" in run.extra]
    return [cell([sum(row) / len(row) for row in rows]) for rows in zip(*matrices, strict=True)]


def _averages(series: Series) -> tuple[Cell | None, ...]:
    (runs,) = series.runs.values()
    found = [[run.metrics[name] for run in runs if name in run.metrics] for name in COLUMNS]
    return tuple(cell(values) if values else None for values in found)


def _matrix(task: str, series: Series) -> Table:
    """A row after each task, a column for each judged."""
    rows = mean_matrix(series)
    width = len(rows[-1])
    header = [f"task {i + 1}" for i in range(width)] if width > 1 else ["all"]
    cells: Sequence[tuple[str, Row]] = [
        (series.backbone, (f"after task {t + 1}", (*row, *[None] * (width - len(row))))) for t, row in enumerate(rows)
    ]
    return table_of(f"{task}, {series.label}: top1 in percent", header, cells, "accuracy on")
