"""The table of template sensitivity: a row for each template, a column for each set of label words."""

import math
import statistics
from collections.abc import Iterable, Sequence

from vlprompt.experiments.results import Result
from vlprompt.report.forms import Table
from vlprompt.report.series import Estimate, by_task, value


def sensitivity_table(results: Iterable[Result], form: str = "terminal", *, metric: str = "top1") -> str:
    """A table for each task, model and learner: mean ± standard deviation, as papers report it.

    The deviation is the sample standard deviation over seeds; for a method without seeds it is the binomial deviation
    over the N test rows, sqrt(p (1 - p) / N).
    """
    tables: dict[tuple[str, str, str, int], list[Result]] = {}
    for task, runs in by_task(results, "template_sensitivity").items():
        for run in runs:
            tables.setdefault((task, run.backbone, run.learner, run.shots), []).append(run)
    return "\n\n".join(_table(task, runs, metric).show(form) for (task, *_), runs in tables.items())


def _table(task: str, runs: Sequence[Result], metric: str) -> Table:
    """One learner on one task."""
    cells: dict[tuple[str, str], list[Result]] = {}
    for run in runs:
        cells.setdefault((str(run.config["template"]), _words(run)), []).append(run)
    templates, words = (list(dict.fromkeys(key[at] for key in cells)) for at in (0, 1))
    rows = tuple((t, tuple(_cell(cells.get((t, w), ()), metric) for w in words)) for t in templates)
    first = runs[0]
    over = f"{first.shots} shots, deviation over seeds" if first.shots else f"deviation over {first.examples} rows"
    chance = f"chance is {100 / first.classes:.1f}"
    title = f"{task}, {first.learner}: {metric} in percent, mean ± {over}; {chance}."
    return Table(title, ("template", *words), ((first.backbone, rows),))


def _words(run: Result) -> str:
    return "/".join(",".join(own) for own in run.config["words"])


def _cell(runs: Sequence[Result], metric: str) -> Estimate | None:
    if not runs:
        return None
    values = [value(run, metric) for run in runs]
    mean = statistics.fmean(values)
    binomial = math.sqrt(mean * (1 - mean) / runs[0].examples)
    deviation = statistics.stdev(values) if len(values) > 1 else binomial
    return Estimate(100 * mean, 100 * deviation, len(values))
