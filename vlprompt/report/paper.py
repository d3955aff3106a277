"""Ours beside published numbers: the same protocol, task, method and shots."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from vlprompt.metrics import harmonic_mean
from vlprompt.report.forms import Row, Table
from vlprompt.report.published import AVERAGE, METRICS, Place, Published
from vlprompt.report.series import Cell, Series, arrange, cell, seeds, value
from vlprompt.results import Result

SHORT = {"base_top1": "base", "new_top1": "new", "harmonic_mean": "H"}


@dataclass(frozen=True)
class Pair:
    """A published row and a series of ours of the same method.

    Attributes:
        paper: What was published.
        backbone: Ours, as tables call it.
        same: Whether that is the paper's.
        label: Of our series, with what it changes.
        values: {(task or "average", metric): our mean and interval}.
    """

    paper: Published
    backbone: str
    same: bool
    label: str
    values: Mapping[Place, Cell]


def beside(results: Iterable[Result], published: Sequence[Published], form: str = "terminal") -> str:
    """Tables with ours beside what was published; empty where nothing was published of the like.

    Ours on the paper's own backbone come with the difference, and then papers on others are left out. Where there is no
    such paper the others are shown, and the caption says that the two cannot be compared.

    Args:
        results: Any results, oldest first; the latest of equal runs is shown.
        published: What `read_paper` found.
        form: "terminal", "markdown" or "latex".

    Raises:
        UsageError: The form is not known.
    """
    latest = list({run.key: run for run in results}.values())
    pairs = [pair for paper in published for pair in _pairs(paper, latest)]
    matched = {(pair.paper.protocol, pair.backbone) for pair in pairs if pair.same}
    pairs = [pair for pair in pairs if pair.same or (pair.paper.protocol, pair.backbone) not in matched]
    sections: dict[tuple[str, ...], list[Pair]] = {}
    for pair in pairs:
        paper = pair.paper
        sections.setdefault((paper.protocol, paper.trained_on, paper.backbone, pair.backbone), []).append(pair)
    tables = (table for members in sections.values() for table in _tables(members))
    return "\n\n".join(table.show(form) for table in tables)


def _pairs(paper: Published, results: Iterable[Result]) -> list[Pair]:
    """Our series of a published method, those that were judged on something it was judged on."""
    protocols = {paper.protocol, "zero_shot"} if paper.protocol == "few_shot" and not paper.shots else {paper.protocol}
    trained_on = (paper.trained_on,) if paper.trained_on else paper.tasks
    chosen = [
        run
        for run in results
        if run.protocol in protocols
        and (run.learner, run.variant) in paper.ours
        and run.shots == paper.shots
        and run.task in trained_on
    ]
    found = []
    for series in arrange(chosen, lambda run: trained_on.index(run.task)) if chosen else []:
        values = _ours(paper, series)
        if values.keys() & paper.values.keys():
            (first, *_), *_ = series.runs.values()
            plain = first.backbone.replace("-quickgelu", "")
            found.append(Pair(paper, series.backbone, plain == paper.backbone, _label(series), values))
    return found


def _label(series: Series) -> str:
    """A series' label, with how long it was trained, and its augmentation where that is not what papers do."""
    trained = [run for members in series.runs.values() for run in members if run.train_config]
    epochs = sorted({run.train_config["epochs"] for run in trained})
    notes = [f"{' or '.join(map(str, epochs))} epochs"] if epochs else []
    notes += [f"augment {kind}" for kind in sorted({run.augment for run in trained} - {"paper"})]
    return ", ".join([series.label, *notes])


def _ours(paper: Published, series: Series) -> dict[Place, Cell]:
    """Mean and interval of all that a series and a published row may share, in the row's order."""
    metrics = METRICS[paper.protocol]
    if paper.trained_on:
        ((_, runs),) = series.runs.items()
        judged = [task for task in paper.tasks if all(f"{task}_top1" in run.metrics for run in runs)]
        cells = {(task, "top1"): cell([value(run, f"{task}_top1") for run in runs]) for task in judged}
    else:
        each = {paper.tasks[at]: runs for at, runs in series.runs.items()}
        cells = {(task, m): cell([value(run, m) for run in runs]) for task, runs in each.items() for m in metrics}
    others = [task for task in paper.tasks if task != paper.trained_on]
    for metric in metrics:
        if all((task, metric) in cells for task in others):
            mean = math.fsum(cells[task, metric].mean for task in others) / len(others)
            cells[AVERAGE, metric] = Cell(mean, None, 1)
    for (task, metric), old in cells.items():
        if metric == "harmonic_mean":  # of the averages, as published tables have it
            mean = harmonic_mean(cells[task, "base_top1"].mean, cells[task, "new_top1"].mean)
            cells[task, metric] = replace(old, mean=mean)
    return cells


def _tables(pairs: Sequence[Pair]) -> list[Table]:
    """A table for each task of base-to-new, else one with a column for each task."""
    paper = pairs[0].paper
    shared = {place for pair in pairs for place in pair.values.keys() & pair.paper.values.keys()}
    order = list(dict.fromkeys(task for pair in pairs for task in (*pair.paper.tasks, AVERAGE)))
    order = sorted(order, key=lambda task: task == AVERAGE)
    tasks = [task for task in order if any(place[0] == task for place in shared)]
    metrics = METRICS[paper.protocol]
    if len(metrics) > 1:
        columns = {task: {(task, metric): SHORT[metric] for metric in metrics} for task in tasks}
        how = "top1 in percent, H of the averages"
        return [_table(f"{paper.protocol}, {task}: {how}", columns[task], pairs) for task in tasks]
    what = f"{paper.protocol}, trained on {paper.trained_on}" if paper.trained_on else paper.protocol
    return [_table(f"{what}: top1 in percent", {(task, "top1"): task for task in tasks}, pairs)]


def _table(what: str, columns: Mapping[Place, str], pairs: Sequence[Pair]) -> Table:
    """The published rows, each with ours below it, under their sources."""
    shown = [pair for pair in pairs if pair.values.keys() & pair.paper.values.keys() & columns.keys()]
    count = seeds(pair.values[place] for pair in shown for place in columns if place in pair.values)
    how = f"; ±: 95 % interval (Student t) over {count} seeds" if count else ""
    ours, theirs = shown[0].backbone, shown[0].paper.backbone
    apart = f"not comparable: the paper's backbone is {theirs}, ours {ours}"
    where = f"both on {theirs}" if shown[0].same else apart
    groups = groupby(shown, key=lambda pair: f"{pair.paper.source} ({pair.paper.evidence})")
    return Table(
        f"{what}, ours beside published; {where}{how}.",
        ("method", *columns.values()),
        tuple((title, tuple(row for pair in members for row in _lines(pair, columns))) for title, members in groups),
    )


def _lines(pair: Pair, columns: Iterable[Place]) -> list[Row]:
    """A published row, ours, and how far ours is above it where the two can be compared."""
    theirs = {place: Cell(percent, None, 1) for place, percent in pair.paper.values.items()}
    shots = f", {pair.paper.shots} shot{'s' * (pair.paper.shots != 1)}" if pair.paper.shots else ""
    rows: list[Row] = [
        (f"paper: {pair.paper.method}{shots}", tuple(theirs.get(place) for place in columns)),
        (f"ours: {pair.label}", tuple(pair.values.get(place) for place in columns)),
    ]
    if pair.same:
        both = [place if place in theirs and place in pair.values else None for place in columns]
        above = [Cell(pair.values[at].mean - theirs[at].mean, None, 1) if at else None for at in both]
        rows.append(("difference", tuple(above)))
    return rows
