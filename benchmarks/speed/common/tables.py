"""Tables of the measurements of a run: pairs of sides, and shares of the machine's rate."""

from collections.abc import Sequence

from benchmarks.speed.common.records import Line, last, ratios, slower
from vlprompt.report.forms import Row, Table

ROOFLINE = "roofline"


def summary(found: Sequence[Line], earlier: Sequence[Line]) -> str:
    """Tables of the lines of a run, with the ratios of the last comparable committed lines.

    Args:
        found: Lines of results.
        earlier: Committed lines.
    """
    rates = [line for line in found if line["benchmark"] == ROOFLINE]
    others = [line for line in found if line["benchmark"] != ROOFLINE]
    return "\n\n".join(show(lines, earlier) for show, lines in ((_rooflines, rates), (_sides, others)) if lines)


def _sides(found: Sequence[Line], earlier: Sequence[Line]) -> str:
    header = ("both sides", "ours", "plain", "ratio", "last", "")
    rows = tuple(_side(line, earlier) for line in found)
    return Table("Speed and memory; ratios within one run", header, (("", rows),)).show("terminal")


def _side(line: Line, earlier: Sequence[Line]) -> Row:
    """Seconds of both sides, or the first figure; the first ratio, and that of the last comparable line."""
    figures, setting = line["figures"], line["setting"]
    label = ", ".join(str(value) if isinstance(value, str) else f"{name} {value}" for name, value in setting.items())
    times = [_seconds(figures[name]) if name in figures else None for name in ("ours_s", "plain_s")]
    if times == [None, None]:
        name, value = next(iter(figures.items()))
        times[0] = f"{name} {value:.3g}"
    return f"{line['benchmark']}: {label}", (*times, *_ratio(line, earlier), _remark(line, earlier))


def _rooflines(found: Sequence[Line], earlier: Sequence[Line]) -> str:
    header = ("learner", "GFLOP", "at the full rate", "measured", "share", "last", "")
    rows = tuple(_rate(line, earlier) for line in found)
    rate = found[0]["figures"]["matmul_gflop_per_s"]
    caption = f"Necessary operations at the rate of a large product ({rate:.0f} GFLOP/s), and the measured time"
    return Table(caption, header, (("", rows),)).show("terminal")


def _rate(line: Line, earlier: Sequence[Line]) -> Row:
    figures, setting = line["figures"], line["setting"]
    label = f"{setting['learner']}, {setting['part']} of {setting['batch']}"
    shown = (f"{figures['gflop']:.3g}", _seconds(figures["least_s"]), _seconds(figures["ours_s"]))
    return label, (*shown, *_ratio(line, earlier), _remark(line, earlier))


def _ratio(line: Line, earlier: Sequence[Line]) -> tuple[str | None, str | None]:
    """The first ratio of a line, and that of the last comparable line."""
    found, before = ratios(line), last(line, earlier)
    if not found:
        return None, None
    name, value = next(iter(found.items()))
    old = ratios(before).get(name) if before else None
    return f"{value:.3g}", None if old is None else f"{old:.3g}"


def _remark(line: Line, earlier: Sequence[Line]) -> str:
    remarks = [f"MISSED {each}" for each in line["missed"]] + [f"SLOWER {each}" for each in slower(line, earlier)]
    return "; ".join(remarks) or " "


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 0.1 else f"{1000 * value:.3g} ms"
