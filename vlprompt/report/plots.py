"""Accuracy by number of shots as a plot; needs the extra `plot`."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlprompt.experiments.results import ALL_SHOTS, Result
from vlprompt.files import write_files
from vlprompt.report import figures
from vlprompt.report.figures import INK, SOFT
from vlprompt.report.series import Estimate, arrange, by_task, estimate, seed_counts, sorted_shots, value

DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
CROWD = 6  # lines in a panel; with more, bands would hide each other
NAMES = {"top1": "accuracy", "top5": "top-5 accuracy", "class_mean": "mean accuracy of the classes"}

Name = tuple[str, str]  # learner, backbone
Lines = Mapping[Name, Mapping[int, Estimate]]  # {name: {shots: estimate}}


def accuracy_by_shots(results: Iterable[Result], path: str | Path, *, metric: str = "top1") -> None:
    """Draw a panel for each task: a line for each learner over the shots, with a band for the 95 % interval.

    A learner without training (zero-shot) is a star at 0 and a horizontal line.

    Args:
        results: Results of `few_shot`, or of `zero_shot` where there are none.
        path: The PNG to write.
        metric: What to draw.

    Raises:
        UsageError: There is nothing to show, a run lacks the metric, or `path` does not end in .png.
        VlpromptError: matplotlib is not installed, or the file cannot be written.
    """
    path = figures.check_png(path)
    panels = {task: _lines(runs, metric) for task, runs in by_task(results, "few_shot", "zero_shot").items()}
    write_files({path: figures.png(_figure(panels, NAMES.get(metric, metric)))})


def _lines(runs: Sequence[Result], metric: str) -> Lines:
    """The lines of one task."""
    return {
        (series.label, series.backbone): {
            shots: estimate([value(run, metric) for run in members]) for shots, members in series.runs.items()
        }
        for series in arrange(runs, lambda run: run.shots)
    }


def _figure(panels: Mapping[str, Lines], what: str) -> Any:
    columns = min(4, math.ceil(math.sqrt(len(panels))))
    rows = math.ceil(len(panels) / columns)
    styles = _styles(panels.values())
    longest = max(len(line) for name in styles for line in _wrapped(name[0]).splitlines())
    size = (1.0 + 0.075 * longest + 4.3 * columns, max(0.4 + 3.5 * rows, 0.6 + 0.26 * len(styles)))
    figure = figures.new_figure(size)
    handles: dict[Name, Any] = {}
    for number, (task, lines) in enumerate(panels.items()):
        axes, places = figure.add_subplot(rows, columns, number + 1), _places(lines)
        _frame(axes, task, places, f"{what} (%)" if number % columns == 0 else "")
        for name, line in lines.items():
            handles[name] = _draw(axes, line, places, styles[name], crowded=len(lines) > CROWD)
    best_first = sorted(handles, key=lambda name: -_mean_end(panels.values(), name))
    _legend(figure, {name: handles[name] for name in best_first})
    count = seed_counts(each for lines in panels.values() for line in lines.values() for each in line.values())
    seeds = f"mean and 95 % interval (Student t) over {count} seeds" if count else "one seed, no interval"
    figures.footnote(figure, seeds)
    return figure


def _styles(panels: Iterable[Lines]) -> dict[Name, dict[str, Any]]:
    """Colour and marker distinguish learners, dashes backbones; learners without training are grey."""
    trains: dict[Name, bool] = {}
    for lines in panels:
        for name, line in lines.items():
            trains[name] = trains.get(name, False) or set(line) != {0}
    learners = sorted({learner for (learner, _), training in trains.items() if training})
    backbones = sorted({backbone for _, backbone in trains})
    styles: dict[Name, dict[str, Any]] = {}
    for name, training in trains.items():
        colour, marker = figures.colour_and_marker(learners.index(name[0])) if training else (SOFT, "*")
        styles[name] = {
            "color": colour,
            "marker": marker,
            "linestyle": DASHES[backbones.index(name[1]) % len(DASHES)],
        }
    return styles


def _mean_end(panels: Iterable[Lines], name: Name) -> float:
    """The last value of a learner's lines, averaged over tasks."""
    ends = [list(lines[name].values())[-1].mean for lines in panels if name in lines]
    return math.fsum(ends) / len(ends)


def _places(lines: Lines) -> dict[int, float]:
    """{shots: position}: logarithmic, with 0 one step before the fewest and "all" one step after the most."""
    shots = sorted_shots(at for line in lines.values() for at in line)
    logs = {at: math.log2(at) for at in shots if at > 0}
    ends = {0: min(logs.values(), default=1.0) - 1, ALL_SHOTS: max(logs.values(), default=0.0) + 1}
    return {at: logs.get(at, ends.get(at, 0.0)) for at in shots}


def _frame(axes: Any, task: str, places: Mapping[int, float], what: str) -> None:
    """Ticks, grid and labels of a panel."""
    axes.set_title(task, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.set_xticks(list(places.values()), ["all" if at == ALL_SHOTS else str(at) for at in places])
    figures.axis_labels(axes, "training images per class", what)
    axes.grid(axis="y", color=figures.PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines["bottom"].set(visible=True, color=SOFT)


def _draw(
    axes: Any, line: Mapping[int, Estimate], places: Mapping[int, float], style: Mapping[str, Any], *, crowded: bool
) -> Any:
    """Draw one learner; returns its handle for the legend."""
    x = [places[at] for at in line]
    mean, low, high = figures.band(line.values())
    axes.fill_between(x, low, high, color=style["color"], alpha=0.04 if crowded else 0.15, linewidth=0)
    flat = set(line) == {0}
    if flat:
        axes.axhline(mean[0], color=style["color"], linestyle=style["linestyle"], linewidth=1.2, zorder=1.5)
    size, width = (15, 1.2) if flat else (6.5, 1.8)
    return axes.plot(x, mean, **style, markersize=size, linewidth=width, markeredgecolor="white")[0]


def _legend(figure: Any, handles: Mapping[Name, Any]) -> None:
    """Names next to the panels, best first; a backbone that all share is their title."""
    backbones = {backbone for _, backbone in handles}
    single = len(backbones) == 1
    legend = figure.legend(
        handles.values(),
        [_wrapped(learner if single else f"{learner}, {backbone}") for learner, backbone in handles],
        title=backbones.pop() if single else "",
        loc="outside right upper",
        frameon=False,
        labelcolor=INK,
        fontsize=9.5,
        handlelength=2.6,
        alignment="left",
    )
    legend.get_title().set(color=SOFT, fontsize=9.5)


def _wrapped(label: str) -> str:
    return textwrap.fill(label, 30, subsequent_indent="  ")
