"""Published numbers, read from a TOML file.

`benchmarks/paper.toml` says at its top how such a file is made up, and of each number where it comes from.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlprompt.errors import VlpromptError, unknown

METRICS: Mapping[str, tuple[str, ...]] = {
    "few_shot": ("top1",),
    "base_to_new": ("base_top1", "new_top1", "harmonic_mean"),
    "cross_dataset": ("top1",),
    "domain_shift": ("top1",),
}
AVERAGE = "average"
# What a table and a row may hold, and of what kind; False: may be left out.
TABLE = {
    "source": (str, True),
    "evidence": (str, True),
    "protocol": (str, True),
    "backbone": (str, True),
    "shots": (int, True),
    "tasks": (list, True),
    "trained_on": (str, False),
    "row": (list, True),
}
ROW = {"method": (str, True), "ours": (list, False), "shots": (int, False), AVERAGE: (dict, False)}

Place = tuple[str, str]  # task or "average", metric


@dataclass(frozen=True)
class Published:
    """What a source reports of one method.

    Attributes:
        source: Paper and table, or file of a repository.
        evidence: How we come to know the numbers, in words.
        protocol: As results call it.
        backbone: As results call it: "ViT-B-16/openai".
        shots: Training images of each class; 0 where nothing is trained.
        tasks: What the source's own average is over, and `trained_on`.
        trained_on: The task that cross-dataset and domain-shift train on; else empty.
        method: As the source calls it.
        ours: The settings of ours that are the same: (learner, variant) as results have them.
        values: {(task or "average", metric): percent}.
    """

    source: str
    evidence: str
    protocol: str
    backbone: str
    shots: int
    tasks: tuple[str, ...]
    trained_on: str
    method: str
    ours: tuple[tuple[str, str], ...]
    values: Mapping[Place, float]


def read_paper(path: str | Path) -> tuple[Published, ...]:
    """Read published numbers.

    Raises:
        VlpromptError: The file is missing or is no TOML, or which table and row is wrong in what.
    """
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise VlpromptError(f"{path} could not be read ({error.strerror}); check the path.") from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise VlpromptError(f"{path} is not TOML: {str(error).splitlines()[0]}.") from error
    try:
        _check(content, {"evidence": (dict, True), "table": (list, True)}, "published numbers")
        tables = enumerate(content["table"], 1)
        return tuple(row for number, table in tables for row in _rows(table, content["evidence"], number))
    except VlpromptError as error:
        raise VlpromptError(f"{path}: {error}") from error


def _rows(table: Any, evidence: Mapping[str, str], number: int) -> list[Published]:
    """The rows of a table of the file."""
    what = f"table {number}"
    _check(table, TABLE, what)
    for kind, given, allowed in (("protocol", table["protocol"], METRICS), ("evidence", table["evidence"], evidence)):
        if given not in allowed:
            raise unknown(f"{kind} in {what}", given, allowed)
    words = evidence[table["evidence"]]
    return [_row(row, table, words, f"{what}, row {at}") for at, row in enumerate(table["row"], 1)]


def _row(row: Any, table: Mapping[str, Any], evidence: str, what: str) -> Published:
    """One row of a table of the file."""
    metrics = METRICS[table["protocol"]]
    _check(row, {**ROW, **dict.fromkeys(metrics, (list, False))}, what)
    _check(row.get(AVERAGE, {}), dict.fromkeys(metrics, (object, False)), f"the average in {what}")
    values = {(AVERAGE, metric): percent for metric, percent in row.get(AVERAGE, {}).items()}
    for metric in metrics:
        if metric in row and len(row[metric]) != len(table["tasks"]):
            raise VlpromptError(f"{metric} in {what} has {len(row[metric])} numbers for {len(table['tasks'])} tasks.")
        values |= {(task, metric): percent for task, percent in zip(table["tasks"], row.get(metric, ()), strict=False)}
    for (task, metric), percent in values.items():
        if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100:
            raise VlpromptError(f"{metric} of {task} in {what} is {percent!r}; it must be a number from 0 to 100.")
    return Published(
        table["source"],
        evidence,
        table["protocol"],
        table["backbone"],
        row.get("shots", table["shots"]),
        tuple(table["tasks"]),
        table.get("trained_on", ""),
        row["method"],
        tuple(_setting(text) for text in row.get("ours", ())),
        values,
    )


def _check(record: Any, known: Mapping[str, tuple[type, bool]], what: str) -> None:
    """Raise a one-line error where a record holds a key it must not, lacks one, or has a value of another kind."""
    if not isinstance(record, dict):
        raise VlpromptError(f"{what} must be a table of TOML, not {record!r}.")
    for key, item in record.items():
        if key not in known:
            raise unknown(f"key of {what}", key, known)
        if not isinstance(item, known[key][0]):
            raise VlpromptError(f"{key} of {what} is {item!r}; it must be of type {known[key][0].__name__}.")
        if key in ("tasks", "ours") and isinstance(item, list) and not all(isinstance(name, str) for name in item):
            raise VlpromptError(f"{key} of {what} is {item!r}; it must be a list of names.")
    for key, (_, needed) in known.items():
        if needed and key not in record:
            raise VlpromptError(f"{what} lacks {key!r}.")


def _setting(text: str) -> tuple[str, str]:
    """(learner, variant) of "coop:cocoop-paper" or "coop n_ctx=4"."""
    learner, _, variant = text.replace(":", " ", 1).partition(" ")
    return learner, variant
