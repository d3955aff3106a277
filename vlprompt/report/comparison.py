"""Tables of our results and published numbers with the same protocol, task, method and shots."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from vlprompt.experiments.results import Result
from vlprompt.experiments.statistics import harmonic_mean
from vlprompt.report.forms import Row, Table
from vlprompt.report.published import AVERAGE, METRICS, Key, Published
from vlprompt.report.series import Estimate, Series, arrange, estimate, seed_counts, value

SHORT = {"base_top1": "base", "new_top1": "new", "harmonic_mean": "H"}


@dataclass(frozen=True)
class Pair:
    """A published row and a series of ours of the same method.

    Attributes:
        paper: The published row.
        backbone: Our backbone, as in tables.
        comparable: Whether it is the paper's backbone.
        label: The label of our series, with changed settings.
        values: {(task or "average", metric): our mean and interval}.
    """

    paper: Published
    backbone: str
    comparable: bool
    label: str
    values: Mapping[Key, Estimate]

    @property
    def shared(self) -> set[Key]:
        """What both have."""
        return self.values.keys() & self.paper.values.keys()


def comparison_tables(results: Iterable[Result], published: Sequence[Published], form: str = "terminal") -> str:
    """Our results next to published numbers; empty where no published number matches.

    Results on the paper's own backbone come with the difference, and then papers on other backbones are left out. Where
    there is no paper on our backbone, the others are shown, and the caption states that they are not comparable.
    """
    latest = list({run.key: run for run in results}.values())
    pairs = [pair for paper in published for pair in _pairs(paper, latest)]
    matched = {(pair.paper.protocol, pair.backbone) for pair in pairs if pair.comparable}
    pairs = [pair for pair in pairs if pair.comparable or (pair.paper.protocol, pair.backbone) not in matched]
    sections: dict[tuple[str, ...], list[Pair]] = {}
    for pair in pairs:
        paper = pair.paper
        sections.setdefault((paper.protocol, paper.trained_on, paper.backbone, pair.backbone), []).append(pair)
    tables = (table for members in sections.values() for table in _tables(members))
    return "\n\n".join(table.show(form) for table in tables)


def _pairs(paper: Published, results: Iterable[Result]) -> list[Pair]:
    """Our series of a published method that share a number with it."""
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
    for series in arrange(chosen, lambda run: trained_on.index(run.task)):
        (first, *_), *_ = series.runs.values()
        comparable = first.backbone.replace("-quickgelu", "") == paper.backbone
        pair = Pair(paper, series.backbone, comparable, _label(series), _ours(paper, series))
        found += [pair] if pair.shared else []
    return found


def _label(series: Series) -> str:
    """A series' label, with its epochs, and its augmentation where papers use another."""
    trained = [run for members in series.runs.values() for run in members if run.train_config]
    epochs = sorted({run.train_config["epochs"] for run in trained})
    notes = [f"{' or '.join(map(str, epochs))} epochs"] if epochs else []
    notes += [f"augment {kind}" for kind in sorted({run.augment for run in trained} - {"paper"})]
    return ", ".join([series.label, *notes])


def _ours(paper: Published, series: Series) -> dict[Key, Estimate]:
    """Mean and interval of everything that a series and a published row may share, in the row's order."""
    metrics = METRICS[paper.protocol]
    if paper.trained_on:
        runs = series.only_column
        tested = [task for task in paper.tasks if all(f"{task}_top1" in run.metrics for run in runs)]
        values = {(task, "top1"): estimate([value(run, f"{task}_top1") for run in runs]) for task in tested}
    else:
        each = {paper.tasks[at]: runs for at, runs in series.runs.items()}
        values = {(task, m): estimate([value(run, m) for run in runs]) for task, runs in each.items() for m in metrics}
    others = [task for task in paper.tasks if task != paper.trained_on]
    for metric in metrics:
        if all((task, metric) in values for task in others):
            mean = math.fsum(values[task, metric].mean for task in others) / len(others)
            values[AVERAGE, metric] = Estimate(mean)
    for (task, metric), old in values.items():
        if metric == "harmonic_mean":  # of the averages, as in published tables
            mean = harmonic_mean(values[task, "base_top1"].mean, values[task, "new_top1"].mean)
            values[task, metric] = replace(old, mean=mean)
    return values


def _tables(pairs: Sequence[Pair]) -> list[Table]:
    """A table for each task of base-to-new, else one with a column for each task."""
    paper = pairs[0].paper
    order = [*dict.fromkeys(task for pair in pairs for task in pair.paper.tasks), AVERAGE]
    shown = {task for pair in pairs for task, _ in pair.shared}
    tasks = [task for task in order if task in shown]
    metrics = METRICS[paper.protocol]
    if len(metrics) > 1:
        columns = {task: {(task, metric): SHORT[metric] for metric in metrics} for task in tasks}
        how = "top1 in percent, H of the averages"
        return [_table(f"{paper.protocol}, {task}: {how}", columns[task], pairs) for task in tasks]
    what = f"{paper.protocol}, trained on {paper.trained_on}" if paper.trained_on else paper.protocol
    return [_table(f"{what}: top1 in percent", {(task, "top1"): task for task in tasks}, pairs)]


def _table(what: str, columns: Mapping[Key, str], pairs: Sequence[Pair]) -> Table:
    """The published rows, each followed by ours, grouped by source."""
    shown = [pair for pair in pairs if pair.shared & columns.keys()]
    count = seed_counts(pair.values[key] for pair in shown for key in columns if key in pair.values)
    seeds = f"; ±: 95 % interval (Student t) over {count} seeds" if count else ""
    ours, theirs = shown[0].backbone, shown[0].paper.backbone
    apart = f"not comparable: the paper's backbone is {theirs}, ours {ours}"
    where = f"both on {theirs}" if shown[0].comparable else apart
    groups = groupby(shown, key=lambda pair: f"{pair.paper.source} ({pair.paper.evidence})")
    return Table(
        f"{what}, ours and published; {where}{seeds}.",
        ("method", *columns.values()),
        tuple((title, tuple(row for pair in members for row in _lines(pair, columns))) for title, members in groups),
    )


def _lines(pair: Pair, columns: Iterable[Key]) -> list[Row]:
    """A published row, ours, and the difference where the two are comparable."""
    theirs = {key: Estimate(percent) for key, percent in pair.paper.values.items()}
    shots = f", {pair.paper.shots} shot{'s' * (pair.paper.shots != 1)}" if pair.paper.shots else ""
    rows: list[Row] = [
        (f"paper: {pair.paper.method}{shots}", tuple(theirs.get(key) for key in columns)),
        (f"ours: {pair.label}", tuple(pair.values.get(key) for key in columns)),
    ]
    if pair.comparable:
        both = [key if key in pair.shared else None for key in columns]
        gaps = [Estimate(pair.values[key].mean - theirs[key].mean) if key else None for key in both]
        rows.append(("difference", tuple(gaps)))
    return rows
