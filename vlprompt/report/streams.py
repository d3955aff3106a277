"""The table of methods that adapt to a stream of test images."""

from collections.abc import Iterable, Sequence
from functools import partial

from vlprompt.experiments.results import Result
from vlprompt.experiments.statistics import interval95
from vlprompt.report.forms import Row, Table, show_by_task, table_of
from vlprompt.report.series import Estimate, Series, arrange, estimate

ECE = "ece_15_equal_width"


def stream_table(results: Iterable[Result], form: str = "terminal", *, metric: str = "top1") -> str:
    """Results of `test_time`: a row for each learner; `before_METRIC`, `METRIC`, gain, calibration errors, seconds.

    The gain is computed within each seed. Online learners are marked: their answers depend on the order of the images.
    """
    return show_by_task(results, form, partial(_table, metric=metric), "test_time")


def _table(task: str, runs: Sequence[Result], metric: str) -> Table:
    rows = [(series.backbone, _row(series, metric)) for series in arrange(runs)]
    header = [f"{metric} before", "after", "gain", "ECE before", "after", "s/image"]
    what = f"{task}: {metric} and calibration error (15 bins of equal width) in percent, before and after adaptation"
    unlabelled = "" if any(run.metrics for run in runs) else "; the images have no labels, so there is no accuracy"
    return table_of(what + unlabelled, header, rows)


def _row(series: Series, metric: str) -> Row:
    runs = series.only_column
    before, after = _values(runs, f"before_{metric}"), _values(runs, metric)
    gains = [b - a for a, b in zip(before, after, strict=True)] if before else []
    columns = [before, after, gains, _values(runs, f"before_{ECE}"), _values(runs, ECE)]
    mean, half_width = interval95([float(run.extra["seconds_per_image"]) for run in runs])
    adaptation = str(runs[0].extra["adaptation"])
    label = series.label if adaptation == "none" else f"{series.label}, {adaptation}"
    cells = (estimate(values) if values else None for values in columns)
    return label, (*cells, Estimate(mean, half_width, len(runs), digits=5))


def _values(runs: Sequence[Result], metric: str) -> list[float]:
    """A metric of every run that has it; methods that do not adapt have none from before."""
    return [run.metrics[metric] for run in runs if metric in run.metrics]
