"""Tables of tasks that are learned one after another."""

from collections.abc import Iterable, Sequence

from vlprompt.experiments.results import Result
from vlprompt.experiments.statistics import CONTINUAL
from vlprompt.report.forms import Row, Table, table_of
from vlprompt.report.series import Estimate, Series, arrange, by_task, estimate, trainable_percent

SHORT = {"average_accuracy": "average", "average_accuracy_curve_mean": "curve mean"}


def continual_table(results: Iterable[Result], form: str = "terminal") -> str:
    """Results of `continual`: a row for each learner, with average accuracies and forgetting; then its matrix.

    Joint training on all tasks has an average only.
    """
    shown, header = [], [*(SHORT.get(name, name) for name in CONTINUAL), "trainable %"]
    for task, runs in by_task(results, "continual").items():
        found = arrange(runs)
        rows = [(each.backbone, (each.label, (*_averages(each), trainable_percent(each)))) for each in found]
        shown.append(table_of(f"{task}: top1 in percent", header, rows).show(form))
        shown += [_matrix(task, each).show(form) for each in found if mean_matrix(each)]
    return "\n\n".join(shown)


def mean_matrix(series: Series) -> list[list[Estimate]]:
    """Accuracy on task i after task t, over seeds; empty for joint training."""
    matrices = [run.extra["matrix"] for run in series.only_column if "matrix" in run.extra]
    if not matrices:
        return []
    return [[estimate([each[t][i] for each in matrices]) for i in range(len(row))] for t, row in enumerate(matrices[0])]


def curve(series: Series) -> list[Estimate]:
    """The average accuracy after each task, over seeds."""
    matrices = [run.extra["matrix"] for run in series.only_column if "matrix" in run.extra]
    return [estimate([sum(row) / len(row) for row in rows]) for rows in zip(*matrices, strict=True)]


def _averages(series: Series) -> tuple[Estimate | None, ...]:
    values = [[run.metrics[name] for run in series.only_column if name in run.metrics] for name in CONTINUAL]
    return tuple(estimate(each) if each else None for each in values)


def _matrix(task: str, series: Series) -> Table:
    """A row after each training task, a column for each test task."""
    rows = mean_matrix(series)
    width = len(rows[-1])
    header = [f"task {i + 1}" for i in range(width)] if width > 1 else ["all"]
    cells: Sequence[tuple[str, Row]] = [
        (series.backbone, (f"after task {t + 1}", (*row, *[None] * (width - len(row))))) for t, row in enumerate(rows)
    ]
    return table_of(f"{task}, {series.label}: top1 in percent", header, cells, "accuracy on")
