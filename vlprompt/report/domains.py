"""Tables of domain adaptation and generalisation: a row for each pair of domains, a column for each learner."""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby

from vlprompt.experiments.results import Result
from vlprompt.report.forms import table_of, without_labels
from vlprompt.report.series import Estimate, Series, arrange, by_task, data_titles, estimate, value


def pairs_table(results: Iterable[Result], form: str = "terminal", *, protocol: str = "domain_adaptation") -> str:
    """A row for each pair of domains (or each domain left out) and for their average, a column for each learner.

    The average is computed within each seed, and its interval over seeds. Cells show the mean over classes where this
    is the data set's metric (VisDA-17), else top-1. Where no test example has a label, a line states this.
    The protocol is "domain_adaptation" or "leave_one_out".
    """
    found = [run for runs in by_task(results, protocol).values() for run in runs]
    titles = data_titles(found, _data_set)
    sections: dict[str, list[Result]] = {}
    for run in found:
        sections.setdefault(titles[_data_set(run), run.data_hash], []).append(run)
    return "\n\n".join(text for title, runs in sections.items() for text in _by_backbone(title, runs, form))


def _by_backbone(title: str, runs: Sequence[Result], form: str) -> list[str]:
    """The tables of one data set, one for each backbone."""
    metric = runs[0].extra.get("metric", "top1")
    labelled = [run for run in runs if run.metrics]
    if not labelled:
        return [without_labels(title, runs).show(form)]
    pairs = sorted({_pair(run) for run in labelled})
    found = arrange(labelled, lambda run: pairs.index(_pair(run)))
    tables = []
    for backbone, group in groupby(found, key=lambda each: each.backbone):
        series = list(group)
        rows = [(pair, tuple(_cell(each, at, metric) for each in series)) for at, pair in enumerate(pairs)]
        rows.append(("average", tuple(_average(each, len(pairs), metric) for each in series)))
        grouped = [(backbone, row) for row in rows]
        columns = [each.label for each in series]
        tables.append(table_of(f"{title}: {metric} in percent", columns, grouped, "domains").show(form))
    return tables


def _data_set(run: Result) -> str:
    return run.task.rpartition("/")[0]


def _pair(run: Result) -> str:
    return run.task.rpartition("/")[2]


def _cell(series: Series, column: int, metric: str) -> Estimate | None:
    runs = series.runs.get(column)
    return estimate([value(run, metric) for run in runs]) if runs else None


def _average(series: Series, columns: int, metric: str) -> Estimate | None:
    """Over all columns, within each seed; None where a column or a seed is missing."""
    seeds = {tuple(run.seed for run in runs) for runs in series.runs.values()}
    if len(series.runs) < columns or len(seeds) > 1:
        return None
    by_seed = zip(*series.runs.values(), strict=True)
    return estimate([math.fsum(value(run, metric) for run in runs) / columns for runs in by_seed])
