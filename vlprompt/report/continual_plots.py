"""Pictures of tasks that are learned one after another; needs the extra `plot`."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlprompt.checkpoint import write_files
from vlprompt.errors import UsageError
from vlprompt.report.continual import curve, mean_matrix
from vlprompt.report.plots import COLOURS, INK, MARKERS, PALE, SOFT, check_png, new_figure, png
from vlprompt.report.series import Cell, Series, arrange, by_task
from vlprompt.results import Result

Panels = Sequence[tuple[str, Series]]  # titles and what stands below them


def draw_continual(results: Iterable[Result], path: str | Path) -> list[Path]:
    """Draw the three pictures of a continual run, as far as there is something to show.

    NAME-matrix.png: accuracy on every task after every task; NAME-tasks.png: their average after every task;
    NAME-usage.png: the share of a pool's prompts in the images of every task.

    Args:
        results: Any results, oldest first; those of `continual` count.
        path: NAME.png.

    Returns:
        The files that were written.

    Raises:
        UsageError: There is nothing to show, or `path` does not end in .png.
        VlpromptError: matplotlib is not installed, or a file cannot be written.
    """
    path = check_png(path)
    found = _panels(results)
    figures = {"matrix": accuracy_matrices, "tasks": accuracy_over_tasks, "usage": key_usage}
    drawn = {name: draw(found) for name, draw in figures.items()}
    files = {path.with_stem(f"{path.stem}-{name}"): png(each) for name, each in drawn.items() if each is not None}
    write_files(files)
    return list(files)


def _panels(results: Iterable[Result]) -> Panels:
    """Rows that learned one task after another.

    Raises:
        UsageError: There are none.
    """
    tasks = {task: arrange(runs, lambda _: 0) for task, runs in by_task(results, "continual").items()}
    several = len(tasks) > 1
    found = [
        (f"{task}: {each.label}" if several else each.label, each)
        for task, series in tasks.items()
        for each in series
        if mean_matrix(each)
    ]
    if not found:
        raise UsageError("there is no result of tasks learned one after another to draw; all were trained jointly.")
    return found


def accuracy_matrices(panels: Panels) -> Any:
    """A heat map for each row: after task t (down), accuracy on task i (across), mean over seeds."""
    grids = {title: [[each.mean for each in row] for row in mean_matrix(series)] for title, series in panels}
    cells = [each for _, series in panels for row in mean_matrix(series) for each in row]
    return _heat_maps(grids, ("accuracy on task", "after task"), (0.0, 100.0), "{:.0f}", f"top1 (%), {_over(cells)}")


def key_usage(panels: Panels) -> Any:
    """A heat map for each row with a pool: how much the images of each task use each of its prompts, for one seed.

    That is the learner's `usage`: the share among those chosen, or the size of a weight. Which prompt is which is
    chance, so there is no mean over seeds. None where no row has a pool.
    """
    grids = {}
    for title, series in panels:
        (runs,) = series.runs.values()
        if "usage" in runs[0].extra:
            used = [[100 * use for use in row] for row in runs[0].extra["usage"]]
            grids[f"{title}, seed {runs[0].seed}"] = used
    if not grids:
        return None
    most = max(use for grid in grids.values() for row in grid for use in row)
    return _heat_maps(grids, ("prompt of the pool", "images of task"), (0.0, most), "", "use of each prompt (%)")


def accuracy_over_tasks(panels: Panels) -> Any:
    """A line for each row: the average accuracy on the tasks so far, after each, with its 95 % interval over seeds."""
    figure = new_figure((8.2, 4.4))
    axes = figure.add_subplot()
    _frame(axes, "after task", "average accuracy on tasks so far (%)")
    cells: list[Cell] = []
    for number, (title, series) in enumerate(panels):
        line = curve(series)
        cells += line
        x, mean = range(1, len(line) + 1), [each.mean for each in line]
        half = [each.half or 0.0 for each in line]
        low = [max(0.0, m - h) for m, h in zip(mean, half, strict=True)]
        high = [min(100.0, m + h) for m, h in zip(mean, half, strict=True)]
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        axes.fill_between(x, low, high, color=colour, alpha=0.1, linewidth=0)
        axes.plot(x, mean, color=colour, marker=marker, markeredgecolor="white", linewidth=1.8, label=title)
    axes.set_xticks(range(1, max(len(curve(series)) for _, series in panels) + 1))
    axes.grid(axis="y", color=PALE, linewidth=0.8)
    figure.legend(loc="outside right upper", frameon=False, labelcolor=INK, fontsize=9.5)
    figure.supxlabel(f"{_over(cells)}; bands: 95 % interval (Student t)", fontsize=8, color=SOFT, x=0.01, ha="left")
    return figure


def _heat_maps(
    grids: Mapping[str, Sequence[Sequence[float]]],
    words: tuple[str, str],
    limits: tuple[float, float],
    form: str,
    note: str,
) -> Any:
    """A panel for each grid, rows perhaps of different lengths; numbers in the cells where a form is given."""
    columns = min(4, math.ceil(math.sqrt(len(grids))))
    rows = math.ceil(len(grids) / columns)
    figure = new_figure((3.4 * columns + 0.8, 3.2 * rows + 0.3))
    for number, (title, grid) in enumerate(grids.items()):
        axes = figure.add_subplot(rows, columns, number + 1)
        _frame(axes, *words)
        axes.set_title(textwrap.fill(title, 36), loc="left", fontsize=10, fontweight="bold", color=INK)
        wide = max(len(row) for row in grid)
        filled = [[*row, *[math.nan] * (wide - len(row))] for row in grid]
        image = axes.imshow(filled, vmin=limits[0], vmax=limits[1], cmap="viridis", aspect="auto")
        _numbers(axes, grid, form, above=sum(limits) / 2)
        axes.set_yticks(range(len(grid)), [str(t + 1) for t in range(len(grid))])
        step = 1 if wide <= 10 else 10  # more would run into one another
        axes.set_xticks(range(step - 1, wide, step), [str(i + 1) for i in range(step - 1, wide, step)])
    figure.colorbar(image, ax=figure.axes, shrink=0.7)
    figure.supxlabel(note, fontsize=8, color=SOFT, x=0.01, ha="left")
    return figure


def _numbers(axes: Any, grid: Sequence[Sequence[float]], form: str, above: float) -> None:
    """The numbers in their cells, dark on what is bright."""
    for t, row in enumerate(grid if form else ()):
        for i, each in enumerate(row):
            axes.text(i, t, form.format(each), ha="center", va="center", fontsize=8,
                      color=INK if each > above else "white")  # fmt: skip


def _frame(axes: Any, across: str, down: str) -> None:
    axes.set_xlabel(across, fontsize=9.5, color=INK)
    axes.set_ylabel(down, fontsize=9.5, color=INK)
    axes.tick_params(length=0, labelsize=9, labelcolor=INK)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)


def _over(cells: Sequence[Cell]) -> str:
    """What the numbers are means of."""
    counts = sorted({each.seeds for each in cells})
    return "one seed" if counts == [1] else f"mean over {' to '.join(map(str, counts[:1] + counts[1:][-1:]))} seeds"
