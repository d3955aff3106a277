"""Texts with labels: CSV, TSV and JSON lines."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vlprompt.data.arguments import columns_of
from vlprompt.data.classes import check_classes, class_names, in_order
from vlprompt.data.images import Example, Files
from vlprompt.data.readers.folder import SPLIT_NAMES
from vlprompt.data.readers.listing import Listing, Splits, need_file, split_groups
from vlprompt.data.readers.rows import SUFFIXES, Table, given, need_kind, read_table, whole
from vlprompt.data.readers.text_files import label_numbers
from vlprompt.data.splits import SPLITS
from vlprompt.data.texts import Text
from vlprompt.errors import UsageError, VlpromptError, unknown, warn

Row = tuple[str, Text, str]  # file and line, text, label


def read_texts(
    path: Path,
    *,
    text_columns: Sequence[str] = (),
    label_column: str = "label",
    classes: Sequence[str] = (),
    slots: Sequence[str] = (),
    split_seed: int = 0,
) -> Listing:
    """Read rows of named fields, one of which is the class.

    Args:
        path: A file (.csv or .tsv with a header, .jsonl), which is split by a seed; or a folder with files called
            train, val (or dev) and test.
        text_columns: Columns that are texts; without them all but the label's.
        label_column: Column of class names; with `classes`, numbers are labels. A row of test may leave it out.
        classes: Class names by label; without them, all names that occur, sorted (numbers by their value).
        slots: Names that a template has for the columns; case and blanks of the header do not matter for them.
        split_seed: Seed of the split where there is one file.

    Raises:
        VlpromptError: With the line that cannot be read.
        UsageError: A column is missing, or a file has another format.
    """
    path, classes = Path(path).expanduser(), class_names(() if classes is None else classes)
    text_columns = columns_of(text_columns)
    files = _split_files(path) if path.is_dir() else {"": need_kind(need_file(path))}
    rows: dict[str, list[Row]] = {}
    for split, file in files.items():
        table = read_table(file)
        found = _rows(table, text_columns, _label_column(split, table, label_column), _fields(table, slots))
        rows[split] = [(where, text, _label(value, classes)) for where, text, value in found]
    labels = in_order({label for own in rows.values() for _, _, label in own if label})
    if not classes and not labels:
        raise VlpromptError(f"{path}: no row has a label in column {label_column!r}")
    names = check_classes(classes or labels, str(path))
    number = label_numbers(names, numbers=bool(classes)) | {"": -1}
    for split, own in rows.items():
        _check_labels(split, own, label_column, names, number)
    if "" in rows:
        labelled = [(text, number[label]) for _, text, label in rows[""]]
        return Listing(names, Files(), split_texts(labelled, names, split_seed))
    splits = (tuple(Example(text, number[label]) for _, text, label in rows.get(split, ())) for split in SPLITS)
    return Listing(names, Files(), Splits(*splits))


def _label(value: str, classes: Sequence[str]) -> str:
    """A label as a class name or, where names were given, a number; "" where it is missing."""
    label = given(value, classes)
    if not classes or label in classes:
        return label
    return "" if whole(label) == "-1" else whole(label)


def _check_labels(
    split: str, rows: Sequence[Row], label_column: str, names: Sequence[str], number: Mapping[str, int]
) -> None:
    """Raise VlpromptError for a label that is unknown or missing; only rows of test may have none.

    Rows of a single file without one become test rows, with one warning.
    """
    missing = [where for where, _, label in rows if not label]
    if missing and split in ("train", "val"):
        raise VlpromptError(f"{missing[0]}: no class in column {label_column!r}; only rows of test may have none")
    if missing and not split:
        warn(f"{missing[0]}: no class in column {label_column!r}; such rows ({len(missing)}) are unlabelled test rows")
    for where, _, label in rows:
        if label not in number:
            raise VlpromptError(f"{where}: {unknown('class', label, names)}")


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


def _rows(table: Table, text_columns: Sequence[str], label: str, names: Mapping[str, str]) -> Iterator[Row]:
    """The rows with a text; one warning of those without, VlpromptError where no row has one.

    Args:
        table: All rows.
        text_columns: Columns that are texts; without them all but the label's.
        label: The label's column; "" where there is none.
        names: Other names of the fields, by column.
    """
    own = [table.need(name) for name in text_columns] or [each for each in table.columns if each not in (label, "idx")]
    empty = [line for line, row in table.rows if not any(given(row.get(name, "")) for name in own)]
    if empty:
        if len(empty) == len(table.rows):
            raise VlpromptError(f"{table.file}, line {empty[0]}: no text")
        warn(f"{table.file}: {len(empty)} rows have no text and are left out; the first is line {empty[0]}")
    left_out = set(empty)
    for line, row in table.rows:
        if line not in left_out:
            fields = ((names.get(name, name), row[name] if given(row[name]) else "") for name in own if name in row)
            yield f"{table.file}, line {line}", Text(tuple(fields)), row.get(label, "")


def _label_column(split: str, table: Table, name: str) -> str:
    """The label's column; "" where the rows of test have none.

    Raises:
        UsageError: Rows for training have none, or a name in test is a misspelling of it.
    """
    if split != "test" or not isinstance(name, str) or (column := table.find(name)):
        return table.need(name)
    if close := difflib.get_close_matches(name, table.columns, n=1, cutoff=0.7):
        table.need(name, hint=f"; rename {close[0]!r} if it is meant")
    listed = f"no column {name!r} (its columns are: {', '.join(table.columns)})"
    warn(f"{table.file} has {listed}; its {len(table.rows)} rows are unlabelled")
    return column


def _fields(table: Table, slots: Sequence[str]) -> dict[str, str]:
    """The slots of a template by the columns whose names differ from them in case or blanks only."""
    return {table.find(slot): slot for slot in slots if slot not in table.columns and table.find(slot)}


def examples_of(rows: Sequence[tuple[Text, int]]) -> tuple[Example, ...]:
    """(text, label) pairs as examples."""
    return tuple(Example(text, label) for text, label in rows)


def split_texts(rows: Sequence[tuple[Text, int]], names: Sequence[str], seed: int) -> Splits:
    """Train, val and test by a seed, as for all data without a split; unlabelled rows are for test."""
    by_label = {name: [text for text, own in rows if own == label] for label, name in enumerate(names)}
    splits = split_groups(by_label, seed)
    return splits._replace(test=splits.test + examples_of([row for row in rows if row[1] < 0]))
