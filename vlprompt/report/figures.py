"""What all plots share: colours, intervals, PNG files. matplotlib (extra `plot`) is imported to draw only."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vlprompt.errors import UsageError, VlpromptError
from vlprompt.report.series import Estimate

# Okabe and Ito's colours are distinct for colour-blind readers; markers distinguish lines of the same colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
INK, SOFT, PALE = "#333333", "#7A7A7A", "#E6E6E6"


def colour_and_marker(number: int) -> tuple[str, str]:
    """Of the line with a number; colours repeat after 7 lines, pairs after 56."""
    return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]


def check_png(path: str | Path) -> Path:
    """The path of a picture; UsageError for another file type."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise UsageError(f"{path} must end in .png.")
    return path


def new_figure(size: tuple[float, float]) -> Any:
    """An empty figure of a size in inches, without global state of matplotlib.

    Raises:
        VlpromptError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise VlpromptError('a plot needs matplotlib; run: pip install "vlprompt[plot]".') from error
    return Figure(figsize=size, dpi=160, layout="constrained")


def png(figure: Any) -> bytes:
    """The figure as PNG; the same bytes for the same figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a name may contain "$"
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content, metadata={"Software": None})
    return content.getvalue()


def band(line: Iterable[Estimate]) -> tuple[list[float], list[float], list[float]]:
    """Means, and lower and upper ends of their intervals, within 0 and 100."""
    line = list(line)
    half = [each.half_width or 0.0 for each in line]
    low = [max(0.0, each.mean - width) for each, width in zip(line, half, strict=True)]
    high = [min(100.0, each.mean + width) for each, width in zip(line, half, strict=True)]
    return [each.mean for each in line], low, high


def axis_labels(axes: Any, x: str, y: str) -> None:
    """Label both axes and remove ticks and frame."""
    axes.set_xlabel(x, fontsize=9.5, color=INK)
    axes.set_ylabel(y, fontsize=9.5, color=INK)
    axes.tick_params(length=0, labelsize=9, labelcolor=INK)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)


def footnote(figure: Any, text: str) -> None:
    """Small print at the lower left."""
    figure.supxlabel(text, fontsize=8, color=SOFT, x=0.01, ha="left")
