"""A measurement beside the last committed one of the same benchmark, setting and kind of machine."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
ALLOWED = 0.85  # of what a ratio was
MARKS = ("times_", "share_of_matmul")  # in the names of figures that should not fall
APART = ("rounds",)  # of a setting: how often it was measured, not what

Line = Mapping[str, Any]


def committed(path: Path) -> list[Line]:
    """The lines of a file of results as they are committed; without git, those that are there.

    Args:
        path: Such as benchmarks/results/speed.jsonl.
    """
    place = path.relative_to(ROOT) if path.is_relative_to(ROOT) else None
    shown = subprocess.run(["git", "show", f"HEAD:{place}"], cwd=ROOT, capture_output=True, text=True, check=False)
    if place is not None and shown.returncode == 0:
        return [json.loads(line) for line in shown.stdout.splitlines()]
    return lines(path)


def lines(path: Path) -> list[Line]:
    """The lines of a file of results; none where there is no file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def ratios(line: Line) -> dict[str, float]:
    """The figures of a line that should not fall, by name."""
    return {name: value for name, value in line["figures"].items() if any(mark in name for mark in MARKS)}


def before(line: Line, known: Sequence[Line]) -> Line | None:
    """The last of the known lines of the same benchmark, setting, processor and number of threads."""
    return next((other for other in reversed(known) if _kind(other) == _kind(line)), None)


def fallen(line: Line, known: Sequence[Line]) -> list[str]:
    """What to say of every ratio that is more than 15 % below the last known one."""
    last = before(line, known)
    if last is None:
        return []
    old = ratios(last)
    return [
        f"{name} is {value:.3g}, was {old[name]:.3g} on {last['date']}"
        for name, value in ratios(line).items()
        if name in old and value < ALLOWED * old[name]
    ]


def _kind(line: Line) -> tuple[str, dict[str, Any], str, int]:
    setting = {name: value for name, value in line["setting"].items() if name not in APART}
    machine = line["machine"]
    return line["benchmark"], setting, machine["cpu"], machine["threads"]
