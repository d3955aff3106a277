"""Results as pictures; needs the extra `plot`. No global state of matplotlib is read or changed."""

import io
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlprompt.checkpoint import write_files
from vlprompt.errors import UsageError, VlpromptError
from vlprompt.report.series import Cell, arrange, by_task, cell, in_order, seeds, value
from vlprompt.results import ALL_SHOTS, Result

# Okabe and Ito's colours stay apart for colour-blind eyes; markers help where colours come round again.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
CROWD = 6  # lines in a panel; with more, bands would hide each other
INK, SOFT, PALE = "#333333", "#7A7A7A", "#E6E6E6"
NAMES = {"top1": "accuracy", "top5": "top-5 accuracy", "class_mean": "mean accuracy of the classes"}

Name = tuple[str, str]  # learner, backbone
Lines = Mapping[Name, Mapping[int, Cell]]  # {name: {shots: cell}}


def accuracy_by_shots(results: Iterable[Result], path: str | Path, *, metric: str = "top1") -> None:
    """Draw a panel for each task: a line for each learner over the shots, with a band for the 95 % interval.

    What needs no shots (zero-shot) is a star at 0 and a line across.

    Args:
        results: Any results, oldest first; those of `few_shot` count, or of `zero_shot` where there are none. The
            latest of equal runs is shown.
        path: The PNG to write.
        metric: What to draw.

    Raises:
        UsageError: There is nothing to show, a run lacks the metric, or `path` does not end in .png.
        VlpromptError: matplotlib is not installed, or the file cannot be written.
    """
    path = check_png(path)
    panels = {task: _lines(runs, metric) for task, runs in by_task(results, "few_shot", "zero_shot").items()}
    write_files({path: png(_figure(panels, NAMES.get(metric, metric)))})


def _lines(runs: Sequence[Result], metric: str) -> Lines:
    """The lines of one task."""
    return {
        (each.label, each.backbone): {
            at: cell([value(run, metric) for run in members]) for at, members in each.runs.items()
        }
        for each in arrange(runs, lambda run: run.shots)
    }


def _figure(panels: Mapping[str, Lines], what: str) -> Any:
    columns = min(4, math.ceil(math.sqrt(len(panels))))
    rows = math.ceil(len(panels) / columns)
    looks = _looks(panels.values())
    longest = max(len(line) for name in looks for line in _wrapped(name[0]).splitlines())
    size = (1.0 + 0.075 * longest + 4.3 * columns, max(0.4 + 3.5 * rows, 0.6 + 0.26 * len(looks)))
    figure = new_figure(size)
    handles: dict[Name, Any] = {}
    for number, (task, lines) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, number + 1)
        _frame(axes, task, _places(lines), f"{what} (%)" if number % columns == 0 else "")
        for name, line in lines.items():
            handles[name] = _draw(axes, line, _places(lines), looks[name], crowded=len(lines) > CROWD)
    best_first = sorted(handles, key=lambda name: -_height(panels.values(), name))
    _legend(figure, {name: handles[name] for name in best_first})
    _note(figure, [each for lines in panels.values() for line in lines.values() for each in line.values()])
    return figure


def _looks(panels: Iterable[Lines]) -> dict[Name, dict[str, Any]]:
    """Colour and marker tell learners apart, dashes backbones; what does not train is grey."""
    trains: dict[Name, bool] = {}
    for lines in panels:
        for name, line in lines.items():
            trains[name] = trains.get(name, False) or set(line) != {0}
    learners = sorted({learner for (learner, _), training in trains.items() if training})
    backbones = sorted({backbone for _, backbone in trains})
    looks: dict[Name, dict[str, Any]] = {}
    for name, training in trains.items():
        place = learners.index(name[0]) if training else 0
        colour = COLOURS[place % len(COLOURS)] if training else SOFT
        marker = MARKERS[place % len(MARKERS)] if training else "*"
        looks[name] = {
            "color": colour, "marker": marker, "linestyle": DASHES[backbones.index(name[1]) % len(DASHES)]
        }  # fmt: skip
    return looks


def _height(panels: Iterable[Lines], name: Name) -> float:
    """Where a learner's lines end, on average over the tasks."""
    ends = [list(lines[name].values())[-1].mean for lines in panels if name in lines]
    return math.fsum(ends) / len(ends)


def _places(lines: Lines) -> dict[int, float]:
    """{shots: position}: logarithmic, with 0 one step before the fewest and "all" one step after the most."""
    shots = in_order(at for line in lines.values() for at in line)
    logs = {at: math.log2(at) for at in shots if at > 0}
    ends = {0: min(logs.values(), default=1.0) - 1, ALL_SHOTS: max(logs.values(), default=0.0) + 1}
    return {at: logs.get(at, ends.get(at, 0.0)) for at in shots}


def _frame(axes: Any, task: str, places: Mapping[int, float], what: str) -> None:
    """Ticks, grid and words of a panel."""
    axes.set_title(task, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.set_xticks(list(places.values()), ["all" if at == ALL_SHOTS else str(at) for at in places])
    axes.set_xlabel("training images per class", fontsize=9.5, color=INK)
    axes.set_ylabel(what, fontsize=9.5, color=INK)
    axes.grid(axis="y", color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=9, labelcolor=INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(SOFT)


def _draw(
    axes: Any, line: Mapping[int, Cell], places: Mapping[int, float], look: Mapping[str, Any], *, crowded: bool
) -> Any:
    """One learner; returns what stands for it in the legend."""
    x, mean = [places[at] for at in line], [each.mean for each in line.values()]
    half = [each.half or 0.0 for each in line.values()]
    low = [max(0.0, m - h) for m, h in zip(mean, half, strict=True)]
    high = [min(100.0, m + h) for m, h in zip(mean, half, strict=True)]
    axes.fill_between(x, low, high, color=look["color"], alpha=0.04 if crowded else 0.15, linewidth=0)
    across = set(line) == {0}
    if across:
        axes.axhline(mean[0], color=look["color"], linestyle=look["linestyle"], linewidth=1.2, zorder=1.5)
    size = 15 if across else 6.5
    return axes.plot(x, mean, **look, markersize=size, linewidth=1.2 if across else 1.8, markeredgecolor="white")[0]


def _legend(figure: Any, handles: Mapping[Name, Any]) -> None:
    """Names beside the panels, best first; a backbone that all share is said once, above them."""
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


def _note(figure: Any, cells: Sequence[Cell]) -> None:
    """In small print, what the bands are."""
    count = seeds(cells)
    words = f"mean and 95 % interval (Student t) over {count} seeds" if count else "one seed: no interval"
    figure.supxlabel(words, fontsize=8, color=SOFT, x=0.01, ha="left")


def check_png(path: str | Path) -> Path:
    """The path of a picture; UsageError for another kind of file."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise UsageError(f"{path} must end in .png.")
    return path


def new_figure(size: tuple[float, float]) -> Any:
    """An empty figure of a size in inches.

    Raises:
        VlpromptError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise VlpromptError('a plot needs matplotlib; run: pip install "vlprompt[plot]".') from error
    return Figure(figsize=size, dpi=160, layout="constrained")


def png(figure: Any) -> bytes:
    """The same bytes for the same figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content, metadata={"Software": None})
    return content.getvalue()
