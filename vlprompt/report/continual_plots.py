"""Plots of tasks that are learned one after another; needs the extra `plot`."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlprompt.errors import UsageError
from vlprompt.experiments.results import Result
from vlprompt.files import write_files
from vlprompt.report import figures
from vlprompt.report.continual import curve, mean_matrix
from vlprompt.report.figures import INK
from vlprompt.report.series import Estimate, Series, arrange, by_task

Panels = Sequence[tuple[str, Series]]  # title and series of each panel


def draw_continual(results: Iterable[Result], path: str | Path) -> list[Path]:
    """Draw the plots of a continual run that its results allow.

    NAME-matrix.png: accuracy on every task after every task; NAME-tasks.png: their average after every task;
    NAME-usage.png: the share of each prompt of a pool in the images of every task.

    Args:
        results: Results of `continual`.
        path: NAME.png.

    Returns:
        The files that were written.

    Raises:
        UsageError: There is nothing to show, or `path` does not end in .png.
        VlpromptError: matplotlib is not installed, or a file cannot be written.
    """
    path = figures.check_png(path)
    panels = _panels(results)
    plots = {"matrix": accuracy_matrices, "tasks": accuracy_over_tasks, "usage": prompt_usage}
    drawn = {path.with_stem(f"{path.stem}-{name}"): draw(panels) for name, draw in plots.items()}
    files = {file: figures.png(figure) for file, figure in drawn.items() if figure is not None}
    write_files(files)
    return list(files)


def _panels(results: Iterable[Result]) -> Panels:
    """The series that learned one task after another.

    Raises:
        UsageError: There are none.
    """
    tasks = {task: arrange(runs) for task, runs in by_task(results, "continual").items()}
    found = [
        (f"{task}: {each.label}" if len(tasks) > 1 else each.label, each)
        for task, series in tasks.items()
        for each in series
        if mean_matrix(each)
    ]
    if not found:
        raise UsageError("there is no result of tasks learned one after another to draw; all were trained jointly.")
    return found


def accuracy_matrices(panels: Panels) -> Any:
    """A heat map for each series: after task t (down), accuracy on task i (across), mean over seeds."""
    matrices = {title: mean_matrix(series) for title, series in panels}
    grids = {title: [[each.mean for each in row] for row in rows] for title, rows in matrices.items()}
    note = f"top1 (%), {_over(each for rows in matrices.values() for row in rows for each in row)}"
    return _heat_maps(grids, ("accuracy on task", "after task"), (0.0, 100.0), note, numbers="{:.0f}")


def prompt_usage(panels: Panels) -> Any:
    """A heat map for each series with a prompt pool: how much the images of each task use each prompt, for one seed.

    This is the learner's `usage`: the share among the chosen prompts, or the size of a weight. The order of prompts is
    arbitrary, so there is no mean over seeds. None where no series has a pool.
    """
    firsts = {title: series.only_column[0] for title, series in panels}
    grids = {
        f"{title}, seed {run.seed}": [[100 * use for use in row] for row in run.extra["usage"]]
        for title, run in firsts.items()
        if "usage" in run.extra
    }
    if not grids:
        return None
    most = max(use for grid in grids.values() for row in grid for use in row)
    return _heat_maps(grids, ("prompt of the pool", "images of task"), (0.0, most), "use of each prompt (%)")


def accuracy_over_tasks(panels: Panels) -> Any:
    """A line for each series: the average accuracy on the tasks so far, after each, with its 95 % interval."""
    figure = figures.new_figure((8.2, 4.4))
    axes = figure.add_subplot()
    figures.axis_labels(axes, "after task", "average accuracy on tasks so far (%)")
    lines = {title: curve(series) for title, series in panels}
    for number, (title, line) in enumerate(lines.items()):
        x = range(1, len(line) + 1)
        mean, low, high = figures.band(line)
        colour, marker = figures.colour_and_marker(number)
        axes.fill_between(x, low, high, color=colour, alpha=0.1, linewidth=0)
        axes.plot(x, mean, color=colour, marker=marker, markeredgecolor="white", linewidth=1.8, label=title)
    axes.set_xticks(range(1, max(map(len, lines.values())) + 1))
    axes.grid(axis="y", color=figures.PALE, linewidth=0.8)
    figure.legend(loc="outside right upper", frameon=False, labelcolor=INK, fontsize=9.5)
    note = _over(each for line in lines.values() for each in line)
    figures.footnote(figure, f"{note}; bands: 95 % interval (Student t)")
    return figure


def _heat_maps(
    grids: Mapping[str, Sequence[Sequence[float]]],
    labels: tuple[str, str],
    limits: tuple[float, float],
    note: str,
    *,
    numbers: str = "",
) -> Any:
    """A panel for each grid, whose rows may differ in length; numbers in the cells where their format is given."""
    columns = min(4, math.ceil(math.sqrt(len(grids))))
    rows = math.ceil(len(grids) / columns)
    figure = figures.new_figure((3.4 * columns + 0.8, 3.2 * rows + 0.3))
    for number, (title, grid) in enumerate(grids.items()):
        axes = figure.add_subplot(rows, columns, number + 1)
        figures.axis_labels(axes, *labels)
        axes.set_title(textwrap.fill(title, 36), loc="left", fontsize=10, fontweight="bold", color=INK)
        width = max(len(row) for row in grid)
        filled = [[*row, *[math.nan] * (width - len(row))] for row in grid]
        image = axes.imshow(filled, vmin=limits[0], vmax=limits[1], cmap="viridis", aspect="auto")
        if numbers:
            _print_numbers(axes, grid, numbers, bright_above=sum(limits) / 2)
        axes.set_yticks(range(len(grid)), [str(t + 1) for t in range(len(grid))])
        step = 1 if width <= 10 else 10  # more labels would overlap
        axes.set_xticks(range(step - 1, width, step), [str(i + 1) for i in range(step - 1, width, step)])
    figure.colorbar(image, ax=figure.axes, shrink=0.7)
    figures.footnote(figure, note)
    return figure


def _print_numbers(axes: Any, grid: Sequence[Sequence[float]], form: str, bright_above: float) -> None:
    """The numbers in their cells, dark on bright cells."""
    for t, row in enumerate(grid):
        for i, each in enumerate(row):
            colour = INK if each > bright_above else "white"
            axes.text(i, t, form.format(each), ha="center", va="center", fontsize=8, color=colour)


def _over(estimates: Iterable[Estimate]) -> str:
    """The number of seeds of some means."""
    counts = sorted({each.seeds for each in estimates})
    return "one seed" if counts == [1] else f"mean over {' to '.join(map(str, counts[:1] + counts[1:][-1:]))} seeds"
