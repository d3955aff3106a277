"""Published numbers, read from a TOML file.

The head of `benchmarks/paper.toml` describes the format and states the origin of each number.
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
# Keys and their types: the required ones of a table, the optional ones of a row.
TABLE = {"source": str, "evidence": str, "protocol": str, "backbone": str, "shots": int, "tasks": list, "row": list}
ROW = {"ours": list, "shots": int, AVERAGE: dict}

Key = tuple[str, str]  # task or "average", metric


@dataclass(frozen=True)
class Published:
    """What a source reports of one method.

    Attributes:
        source: Paper and table, or file of a repository.
        evidence: How the numbers were obtained, as a sentence.
        protocol: As in results.
        backbone: As in results: "ViT-B-16/openai".
        shots: Training images of each class; 0 where nothing is trained.
        tasks: The tasks of the source's own average, and `trained_on`.
        trained_on: The source task of cross-dataset and domain-shift; else empty.
        method: The name in the source.
        ours: Our equal settings: (learner, variant) as in results.
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
    values: Mapping[Key, float]


def read_paper(path: str | Path) -> tuple[Published, ...]:
    """Read published numbers.

    Raises:
        VlpromptError: The file is missing or is not TOML, or a table or row is wrong; the error names it.
    """
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise VlpromptError(f"{path} could not be read ({error.strerror}); check the path.") from error
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, or nested too deeply
        raise VlpromptError(f"{path} is not TOML: {str(error).splitlines()[0]}.") from error
    try:
        _check(content, "published numbers", {"evidence": dict, "table": list}, {})
        tables = enumerate(content["table"], 1)
        return tuple(row for number, table in tables for row in _rows(table, content["evidence"], f"table {number}"))
    except VlpromptError as error:
        raise VlpromptError(f"{path}: {error}") from error


def _rows(table: Any, evidence: Mapping[str, str], what: str) -> list[Published]:
    """The rows of a table of the file."""
    _check(table, what, TABLE, {"trained_on": str})
    for kind, allowed in (("protocol", METRICS), ("evidence", evidence)):
        if table[kind] not in allowed:
            raise unknown(f"{kind} in {what}", table[kind], allowed)
    return [_row(row, table, evidence, f"{what}, row {number}") for number, row in enumerate(table["row"], 1)]


def _row(row: Any, table: Mapping[str, Any], evidence: Mapping[str, str], what: str) -> Published:
    """One row of a table of the file."""
    metrics = METRICS[table["protocol"]]
    _check(row, what, {"method": str}, ROW | dict.fromkeys(metrics, list))
    _check(row.get(AVERAGE, {}), f"the average in {what}", {}, dict.fromkeys(metrics, object))
    return Published(
        table["source"],
        evidence[table["evidence"]],
        table["protocol"],
        table["backbone"],
        row.get("shots", table["shots"]),
        tuple(table["tasks"]),
        table.get("trained_on", ""),
        row["method"],
        tuple(_setting(text) for text in row.get("ours", ())),
        _values(row, table["tasks"], metrics, what),
    )


def _values(row: Mapping[str, Any], tasks: list[str], metrics: tuple[str, ...], what: str) -> dict[Key, float]:
    """The numbers of a row, each between 0 and 100."""
    values = {(AVERAGE, metric): percent for metric, percent in row.get(AVERAGE, {}).items()}
    for metric in metrics:
        if metric in row and len(row[metric]) != len(tasks):
            raise VlpromptError(f"{metric} in {what} has {len(row[metric])} numbers for {len(tasks)} tasks.")
        values |= {(task, metric): percent for task, percent in zip(tasks, row.get(metric, ()), strict=False)}
    for (task, metric), percent in values.items():
        if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100:
            raise VlpromptError(f"{metric} of {task} in {what} is {percent!r}; it must be a number from 0 to 100.")
    return values


def _check(record: Any, what: str, required: Mapping[str, type], optional: Mapping[str, type]) -> None:
    """Raise VlpromptError where a record has an unknown key, lacks a required one, or has a value of a wrong type."""
    if not isinstance(record, dict):
        raise VlpromptError(f"{what} must be a TOML table, not {record!r}.")
    types = {**required, **optional}
    for key, item in record.items():
        if key not in types:
            raise unknown(f"key of {what}", key, types)
        if not isinstance(item, types[key]):
            raise VlpromptError(f"{key} of {what} is {item!r}; it must be of type {types[key].__name__}.")
        if isinstance(item, list) and key in ("tasks", "ours") and not all(isinstance(name, str) for name in item):
            raise VlpromptError(f"{key} of {what} is {item!r}; it must be a list of names.")
    for key in required:
        if key not in record:
            raise VlpromptError(f"{what} lacks {key!r}.")


def _setting(text: str) -> tuple[str, str]:
    """(learner, variant) of "coop:cocoop-paper" or "coop n_ctx=4"."""
    learner, _, variant = text.replace(":", " ", 1).partition(" ")
    return learner, variant
