"""What a run of benchmarks found, as tables: side by side, and against the machine's rate."""

from collections.abc import Sequence

from benchmarks.speed.compare import Line, before, fallen, ratios
from vlprompt.report.forms import Row, Table

ROOFLINE = "roofline"


def tables(found: Sequence[Line], known: Sequence[Line]) -> str:
    """Tables of the lines of a run, each beside the last committed one of its kind.

    Args:
        found: Lines of results.
        known: Lines that were committed before.
    """
    rates = [line for line in found if line["benchmark"] == ROOFLINE]
    others = [line for line in found if line["benchmark"] != ROOFLINE]
    parts = [show(some, known) for show, some in ((_rooflines, rates), (_sides, others)) if some]
    return "\n\n".join(parts)


def _sides(found: Sequence[Line], known: Sequence[Line]) -> str:
    header = ("side by side", "ours", "plain", "ratio", "last", "")
    rows = tuple(_side(line, known) for line in found)
    return Table("Speed and memory; ratios of one run", header, (("", rows),)).show("terminal")


def _side(line: Line, known: Sequence[Line]) -> Row:
    """Seconds of both sides where there are two, else the first figure; the first ratio; the same in the last line."""
    figures, setting = line["figures"], line["setting"]
    label = ", ".join(str(value) if isinstance(value, str) else f"{name} {value}" for name, value in setting.items())
    times = [_seconds(figures[name]) if name in figures else None for name in ("ours_s", "plain_s")]
    if times == [None, None]:
        name, value = next(iter(figures.items()))
        times[0] = f"{name} {value:.3g}"
    return f"{line['benchmark']}: {label}", (*times, *_ratio(line, known), _remark(line, known))


def _rooflines(found: Sequence[Line], known: Sequence[Line]) -> str:
    header = ("learner", "GFLOP", "at the full rate", "measured", "share", "last", "")
    rows = tuple(_rate(line, known) for line in found)
    rate = found[0]["figures"]["matmul_gflop_per_s"]
    caption = (
        f"Operations that must be done, at the rate of a large product ({rate:.0f} GFLOP/s), and the time they took"
    )
    return Table(caption, header, (("", rows),)).show("terminal")


def _rate(line: Line, known: Sequence[Line]) -> Row:
    figures, setting = line["figures"], line["setting"]
    label = f"{setting['learner']}, {setting['part']} of {setting['batch']}"
    shown = (f"{figures['gflop']:.3g}", _seconds(figures["least_s"]), _seconds(figures["ours_s"]))
    return label, (*shown, *_ratio(line, known), _remark(line, known))


def _ratio(line: Line, known: Sequence[Line]) -> tuple[str | None, str | None]:
    """The first ratio of a line, and that of the last committed one."""
    found, last = ratios(line), before(line, known)
    if not found:
        return None, None
    name, value = next(iter(found.items()))
    old = ratios(last).get(name) if last else None
    return f"{value:.3g}", None if old is None else f"{old:.3g}"


def _remark(line: Line, known: Sequence[Line]) -> str:
    return (
        "; ".join([*(f"MISSED {each}" for each in line["missed"]), *(f"SLOWER {e}" for e in fallen(line, known))])
        or " "
    )


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 0.1 else f"{1000 * value:.3g} ms"
