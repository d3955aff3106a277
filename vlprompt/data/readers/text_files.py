"""Text files of data sets: lines, lists of pairs, tables, and labels written as names or numbers."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vlprompt.data.readers.listing import DataError, need_file
from vlprompt.errors import UsageError


def label_numbers(names: Sequence[str], *, numbers: bool) -> dict[str, int]:
    """The label of each class name and, if `numbers`, of each label written as a number."""
    labels = {str(label): label for label in range(len(names))} if numbers else {}
    return labels | {name: label for label, name in enumerate(names)}


def lines(file: Path) -> Iterator[str]:
    """The lines of a text file; DataError with the line that is not UTF-8."""
    with file.open("rb") as raw:
        for number, line in enumerate(raw, start=1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(f"{file}, line {number}: not UTF-8 text ({error.reason})") from error


def csv_rows(file: Path, **style: Any) -> Iterator[tuple[int, list[str]]]:
    """The non-empty rows of a table, with the numbers of their (last) lines; `style` as for `csv.reader`.

    Raises:
        DataError: With the line that cannot be read.
    """
    reader = csv.reader(lines(file), **style)
    try:
        yield from ((reader.line_num, row) for row in reader if row)
    except csv.Error as error:
        raise DataError(f"{file}, line {reader.line_num}: {error}") from error


def table_rows(
    file: Path, required: Sequence[str] = (), header: Sequence[str] = (), **style: Any
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a table by column, with the numbers of their (last) lines; `style` as for `csv.reader`.

    Args:
        file: The table, UTF-8.
        required: Columns that it must have.
        header: Names of the columns of a table without a header line.
        style: Delimiter and quoting.

    Raises:
        DataError: With the line that cannot be read, or that has more or fewer columns than the header.
        UsageError: A column is missing.
    """
    rows = csv_rows(file, **style)
    columns = list(header) or next(rows, (0, []))[1]
    for column in required:
        if column not in columns:
            raise UsageError(f"{file} has no column {column!r}; its columns are: {', '.join(columns) or 'none'}")
    for line, row in rows:
        if len(row) != len(columns):
            raise DataError(f"{file}, line {line}: {len(row)} columns where the header has {len(columns)}")
        yield line, dict(zip(columns, row, strict=True))


def pairs(file: Path, left: str, right: str, *, at_last_blank: bool = False) -> Iterator[tuple[str, str, str]]:
    """The lines of a list of "LEFT RIGHT", each with its file and line; empty lines are left out.

    Args:
        file: The list, UTF-8.
        left: Name of the left part, for the error.
        right: Name of the right part.
        at_last_blank: The left part may contain blanks; without it the right part may.

    Raises:
        DataError: A line is no such pair, or the file is missing.
    """
    for number, line in enumerate(lines(need_file(file)), start=1):
        where, text = f"{file}, line {number}", line.strip()
        first, _, second = text.rpartition(" ") if at_last_blank else text.partition(" ")
        if text and not (first.strip() and second.strip()):
            raise DataError(f"{where}: expected {left} and {right}, found {text!r}")
        if text:
            yield where, first.strip(), second.strip()
