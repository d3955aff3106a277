"""Texts with labels: CSV, TSV and JSON lines."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vlprompt.data.classes import check_classes
from vlprompt.data.images import Example, Files
from vlprompt.data.readers.folder import SPLIT_NAMES
from vlprompt.data.readers.listing import DataError, Listing, Splits, need_file, split_groups
from vlprompt.data.readers.text_files import label_numbers, lines, table_rows
from vlprompt.data.splits import SPLITS
from vlprompt.data.texts import Text
from vlprompt.errors import UsageError, VlpromptError, unknown

SUFFIXES = (".csv", ".tsv", ".jsonl")


def read_texts(
    path: Path,
    *,
    text_columns: Sequence[str] = (),
    label_column: str = "label",
    classes: Sequence[str] = (),
    split_seed: int = 0,
) -> Listing:
    """Read rows of named fields, one of which is the class.

    Args:
        path: A file (.csv or .tsv with a header, .jsonl), which is split by a seed; or a folder with files called
            train, val (or dev) and test.
        text_columns: Columns that are texts; without them all but the label's.
        label_column: Column of class names; with `classes`, numbers are labels. A row of test may leave it out.
        classes: Class names by label; without them, all names that occur, sorted.
        split_seed: Seed of the split where there is one file.

    Raises:
        VlpromptError: With the line that cannot be read.
        UsageError: A column is missing, or a file has another format.
    """
    path = Path(path).expanduser()
    files = _split_files(path) if path.is_dir() else {"": need_file(path)}
    rows = {split: list(_rows(file, text_columns, label_column)) for split, file in files.items()}
    names = check_classes(list(classes) or sorted({c for own in rows.values() for _, _, c in own if c}), str(path))
    number = label_numbers(names, numbers=bool(classes)) | {"": -1}
    for split, own in rows.items():
        for where, _, label in own:
            if not label and split in ("train", "val"):
                raise VlpromptError(f"{where}: no class in column {label_column!r}; only rows of test may have none")
            if label not in number:
                raise VlpromptError(f"{where}: {unknown('class', label, names)}")
    if "" in rows:
        labelled = [(text, number[label]) for _, text, label in rows[""]]
        return Listing(names, Files(), split_texts(labelled, names, split_seed))
    splits = (tuple(Example(text, number[label]) for _, text, label in rows.get(split, ())) for split in SPLITS)
    return Listing(names, Files(), Splits(*splits))


def _split_files(folder: Path) -> dict[str, Path]:
    """The file of each split in a folder; UsageError where there is none."""
    files = {
        split: folder / (name + suffix)
        for split, names in SPLIT_NAMES.items()
        for suffix in reversed(SUFFIXES)
        for name in reversed(names)
        if (folder / (name + suffix)).is_file()
    }
    if not files:
        raise UsageError(f"{folder} holds no train or test file of the kinds {', '.join(SUFFIXES)}.")
    return files


def _rows(file: Path, columns: Sequence[str], label_column: str) -> Iterator[tuple[str, Text, str]]:
    """File and line of each row, its text, and its label ("" where it has none)."""
    for number, row in records(file):
        where = f"{file}, line {number}"
        own = list(columns) or [name for name in row if name not in (label_column, "idx")]
        for name in own:
            if name not in row:
                raise UsageError(f"{where} has no column {name!r}; its columns are: {', '.join(row) or 'none'}")
        if not own or not any(row[name].strip() for name in own):
            raise VlpromptError(f"{where}: no text")
        yield where, Text(tuple((name, row[name]) for name in own)), row.get(label_column, "").strip()


def records(file: Path, header: Sequence[str] = ()) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a .csv, .tsv or .jsonl file as fields of text, with their lines.

    Args:
        file: The file.
        header: Names of the columns of a table without a header line.

    Raises:
        DataError: With the line that cannot be read.
        UsageError: The file has another format.
    """
    suffix = file.suffix.lower()
    if suffix == ".jsonl":
        return _json_lines(file)
    if suffix not in SUFFIXES:
        raise UsageError(f"{file} is not of the kinds {', '.join(SUFFIXES)}.")
    # GLUE's TSV files contain single quotation marks.
    style: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if suffix == ".tsv" else {"strict": True}
    return table_rows(file, header=header, **style)


def _json_lines(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    for number, line in enumerate(lines(file), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{file}, line {number}: not JSON ({error.msg}, column {error.colno})") from error
        if not isinstance(row, dict):
            raise DataError(f"{file}, line {number}: not a JSON object")
        yield number, dict(_flat(row))


def _flat(row: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The fields of an object; those of an object inside it have its name in front: target_span1_text."""
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}_")
        else:
            yield prefix + name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def examples_of(rows: Sequence[tuple[Text, int]]) -> tuple[Example, ...]:
    """(text, label) pairs as examples."""
    return tuple(Example(text, label) for text, label in rows)


def split_texts(rows: Sequence[tuple[Text, int]], names: Sequence[str], seed: int) -> Splits:
    """Train, val and test by a seed, as for all data without a split; unlabelled rows are for test."""
    by_label = {name: [text for text, own in rows if own == label] for label, name in enumerate(names)}
    splits = split_groups(by_label, seed)
    return splits._replace(test=splits.test + examples_of([row for row in rows if row[1] < 0]))
