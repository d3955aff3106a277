"""Replay goldens through vlprompt: python -m benchmarks.parity DIR [--models DIR] [--method NAME] [--json]."""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.parity.adapters import adapter_name
from benchmarks.parity.case import read_case, read_manifest
from benchmarks.parity.compare import Difference
from benchmarks.parity.models import Models
from benchmarks.parity.replay import FAIL, PASS, SKIP, Row, replay
from vlprompt.errors import VlpromptError, unknown
from vlprompt.training.callbacks import progress

SHOWN = 3  # wrong arrays that a failing row names
WIDTH = 60  # letters of a method's name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 where all replayed cases agree, 1 where one does not, 2 for a broken input."""
    options = _parser().parse_args(arguments)
    try:
        rows = run(options.folder, options.models or options.folder.resolve().parent, options.method)
    except VlpromptError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps([row.as_json() for row in rows], indent=2, allow_nan=False))
    else:
        print("\n".join([*_table(rows), _totals(rows)]))
    return int(any(row.status == FAIL for row in rows))


def run(folder: Path, models: Path, method: str = "") -> list[Row]:
    """Replay the cases of a folder.

    Args:
        folder: Holds manifest.json and its files.
        models: Holds tiny_clip.
        method: Only cases whose method or adapter starts with this text; or, if none does, contains it.

    Raises:
        VlpromptError: The manifest, a file or a model is missing or broken, or no case has that method.
    """
    loaded = Models(models)
    rows = []
    for entry in progress(select(read_manifest(folder), method), "replay"):
        name = adapter_name(entry["method"])
        if name:
            rows.append(replay(read_case(folder, entry), name, loaded))
        else:
            rows.append(Row(entry["method"], entry["file"], SKIP, problem="no adapter matches this method"))
    return rows


def select(entries: list[dict[str, Any]], method: str) -> list[dict[str, Any]]:
    """The entries of a method, all of them without a name; case, hyphens and underscores are ignored.

    Raises:
        UsageError: No entry matches.
    """
    wanted = _plain(method)
    named = [(entry, [_plain(entry["method"]), _plain(adapter_name(entry["method"]))]) for entry in entries]
    matching = [entry for entry, names in named if any(name.startswith(wanted) for name in names)]
    chosen = matching or [entry for entry, names in named if any(wanted in name for name in names)]
    if method and not (wanted and chosen):
        raise unknown("method", method, {entry["method"] for entry in entries})
    return chosen


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9+/() ]", "", name.lower())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.parity", description="Replay goldens through vlprompt.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="holds manifest.json and its arrays")
    parser.add_argument("--models", type=Path, metavar="DIR", help="holds tiny_clip (default: the folder above)")
    parser.add_argument("--method", default="", metavar="NAME", help="only cases whose method starts with this")
    parser.add_argument("--json", action="store_true", help="rows as a list of objects")
    return parser


def _table(rows: list[Row]) -> list[str]:
    """A line for each case, in columns."""
    head = ("method", "file", "worst array", "abs error", "rel error", "tolerance", "result")
    cells = [head, *((_short(row.method), row.file, *_numbers(row.worst), row.status) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
    return [lines[0].rstrip(), *(line.rstrip() + _remarks(row) for line, row in zip(lines[1:], rows, strict=True))]


def _short(text: str) -> str:
    return text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."


def _numbers(worst: Difference | None) -> tuple[str, str, str, str]:
    if worst is None:
        return "-", "-", "-", "-"
    allowed = f"{worst.allowed:.1e}" if worst.allowed else "exact"
    return worst.name, f"{worst.worst_abs:.1e}", f"{worst.worst_rel:.1e}", allowed


def _remarks(row: Row) -> str:
    """The problems of a row that did not pass."""
    off = [each for each in row.differences if not each.ok]
    remarks = [row.problem] if row.problem else []
    remarks += [
        f"{each.name} off by {each.worst_abs:.1e}" + f" ({each.note})" * bool(each.note) for each in off[:SHOWN]
    ]
    remarks += [f"{len(off) - SHOWN} more arrays off"] if len(off) > SHOWN else []
    return f"  [{'; '.join(remarks)}]" if remarks else ""


def _totals(rows: list[Row]) -> str:
    counts = [sum(row.status == status for row in rows) for status in (PASS, FAIL, SKIP)]
    return f"{counts[0]} passed, {counts[1]} failed, {counts[2]} skipped"


if __name__ == "__main__":
    sys.exit(main())
