"""Texts with labels: CSV, TSV and JSON lines."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vlprompt.data.images import Example, Files
from vlprompt.data.readers.folder import SPLITS
from vlprompt.data.readers.listing import Listing, Splits, check_classes, need_file, split_groups
from vlprompt.data.readers.table import lines
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
    """Read rows of named fields, one of them the class.

    Args:
        path: A file (.csv or .tsv with a header, .jsonl), which is split by a seeded rule; or a folder with files
            called train, val (or dev) and test.
        text_columns: Columns that are texts; without them all but the label's.
        label_column: Column of class names; with `classes`, numbers count into them. A row may leave it out in test.
        classes: Class names by label; without them, all names that occur, sorted.
        split_seed: Seed of the split that is made where there is one file.

    Raises:
        VlpromptError: With the line that cannot be read.
        UsageError: A column that is not there, or a file of another kind.
    """
    path = Path(path).expanduser()
    files = _split_files(path) if path.is_dir() else {"": need_file(path)}
    rows = {split: list(_rows(file, text_columns, label_column)) for split, file in files.items()}
    names = check_classes(list(classes) or sorted({c for own in rows.values() for _, _, c in own if c}), str(path))
    number = {str(label): label for label in range(len(names))} if classes else {}
    number |= {name: label for label, name in enumerate(names)} | {"": -1}
    for split, own in rows.items():
        for where, _, label in own:
            if not label and split in ("train", "val"):
                raise VlpromptError(f"{where}: no class in column {label_column!r}; only rows of test may have none")
            if label not in number:
                raise VlpromptError(f"{where}: {unknown('class', label, names)}")
    if "" in rows:
        labelled = [(text, number[label]) for _, text, label in rows[""]]
        return Listing(names, Files(), split_texts(labelled, names, split_seed))
    splits = (tuple(Example(text, number[label]) for _, text, label in rows.get(part, ())) for part in SPLITS)
    return Listing(names, Files(), Splits(*splits))


def _split_files(folder: Path) -> dict[str, Path]:
    """The file of each split in a folder.

    Raises:
        UsageError: There is none for train and none for test.
    """
    found = {
        split: folder / (name + suffix)
        for split, names in SPLITS.items()
        for suffix in reversed(SUFFIXES)
        for name in reversed(names)
        if (folder / (name + suffix)).is_file()
    }
    if not found:
        raise UsageError(f"{folder} holds no train or test file of the kinds {', '.join(SUFFIXES)}.")
    return found


def _rows(file: Path, columns: Sequence[str], label_column: str) -> Iterator[tuple[str, Text, str]]:
    """Where each row is, its text, and its label ("" where it has none)."""
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
        VlpromptError: With the line that cannot be read.
        UsageError: A file of another kind.
    """
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"{file} is not of the kinds {', '.join(SUFFIXES)}.")
    if suffix == ".jsonl":
        yield from _json_lines(file)
        return
    # GLUE's TSV files hold lone quotation marks.
    style: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if suffix == ".tsv" else {"strict": True}
    reader = csv.DictReader(lines(file), fieldnames=list(header) or None, **style)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise VlpromptError(f"{file}, line {reader.line_num}: it has not as many columns as the header")
            yield reader.line_num, row
    except csv.Error as error:
        raise VlpromptError(f"{file}, line {reader.line_num}: {error}") from error


def _json_lines(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    for number, line in enumerate(lines(file), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise VlpromptError(f"{file}, line {number}: not JSON ({error.msg}, column {error.colno})") from error
        if not isinstance(row, dict):
            raise VlpromptError(f"{file}, line {number}: not a JSON object")
        yield number, dict(_flat(row))


def _flat(row: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """The fields of an object and of those inside it, whose names follow that of their own: target_span1_text."""
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}_")
        else:
            yield above + name, _plain(value)


def _plain(value: object) -> str:
    """A JSON value as text; true and false as data sets write them."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def examples_of(rows: Sequence[tuple[Text, int]]) -> tuple[Example, ...]:
    """(text, label) pairs as examples."""
    return tuple(Example(text, label) for text, label in rows)


def split_texts(rows: Sequence[tuple[Text, int]], names: Sequence[str], seed: int) -> Splits:
    """Train, val and test by the rule that all data without a split of its own has; unlabelled rows go to test."""
    by_label = {name: [text for text, own in rows if own == label] for label, name in enumerate(names)}
    made = split_groups(by_label, seed)
    return made._replace(test=made.test + examples_of([row for row in rows if row[1] < 0]))
