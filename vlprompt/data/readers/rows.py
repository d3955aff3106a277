"""Rows of tables and JSON lines: one reader for a user's files, whatever program wrote them, one for published ones."""

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlprompt.data.readers.listing import DataError, need_file
from vlprompt.data.readers.text_files import table_rows
from vlprompt.errors import UsageError, VlpromptError
from vlprompt.files import parse_json

SUFFIXES = (".csv", ".tsv", ".jsonl")
DELIMITERS = (",", ";", "\t", "|")
MISSING = frozenset({"nan", "NaN", "null", "NULL", "None", "NA", "N/A", "<NA>"})  # as pandas, R and SQL write it
UNNAMED = re.compile(r"(Unnamed: \d+)?")  # the row numbers that pandas writes, and cells after the last delimiter


@dataclass(frozen=True)
class Table:
    """The rows of a file.

    Attributes:
        file: Where they are from.
        columns: Names of the columns.
        rows: The line of each row, and its values by column.
    """

    file: Path
    columns: tuple[str, ...]
    rows: list[tuple[int, dict[str, str]]]

    def find(self, *names: str) -> str:
        """The first column with one of these names, in any case; "" where there is none."""
        folded = {_folded(column): column for column in reversed(self.columns)}
        exact = (name for name in names if name in self.columns)
        return next(exact, next((folded[_folded(name)] for name in names if _folded(name) in folded), ""))

    def need(self, *names: str, hint: str = "") -> str:
        """The first column with one of these names; UsageError with all columns where there is none."""
        if not all(isinstance(name, str) for name in names):
            raise UsageError(f"a column's name must be a string; got {names[0]!r}")
        column = self.find(*names)
        if not column:
            listed = ", ".join(self.columns) or "none"
            raise UsageError(f"{self.file} has no column {names[0]!r}; its columns are: {listed}{hint}")
        return column


def read_table(file: Path, delimiter: str = "") -> Table:
    """Read a user's table (with a header) or JSON lines.

    The delimiter, the quoting, the line ends and the encoding (UTF-8, or UTF-16 with its mark) are those of the file;
    blanks around names of columns, empty rows and a column without a name, as pandas writes its index, are left out.

    Args:
        file: The file; JSON lines where its suffix is .jsonl.
        delimiter: Between columns; without it, the one of `DELIMITERS` that gives the header most columns.

    Raises:
        DataError: With the line that cannot be read.
        UsageError: There are no rows, or two columns of the same name.
    """
    if delimiter and (not isinstance(delimiter, str) or len(delimiter) != 1):
        raise UsageError(f"a delimiter is a single character, such as ';'; got {delimiter!r}")
    if need_file(file).suffix.lower() == ".jsonl":
        rows = list(_json_lines(file))
        columns = tuple(dict.fromkeys(name for _, row in rows for name in row))
    else:
        columns, rows = _table(file, delimiter)
    if not rows:
        raise UsageError(f"{file} has a header but no rows" if columns else f"{file} is empty")
    return Table(file, columns, rows)


def given(value: str, names: Sequence[str] = ()) -> str:
    """A value without blanks around it, or "" where it is a word for a missing one and none of the names."""
    value = value.strip()
    return "" if value in MISSING and value not in names else value


def whole(label: str) -> str:
    """A label that is a number with zeros after the point, as pandas writes beside missing ones, without these."""
    return label.partition(".")[0] if re.fullmatch(r"[0-9]+\.0+", label) else label


def records(file: Path, header: Sequence[str] = ()) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a published .csv, .tsv or .jsonl file as fields of text, with their lines.

    Args:
        file: The file.
        header: Names of the columns of a table without a header line.

    Raises:
        DataError: With the line that cannot be read.
        UsageError: The file has another format.
    """
    suffix = need_kind(file).suffix.lower()
    if suffix == ".jsonl":
        return _json_lines(file)
    # GLUE's TSV files contain single quotation marks.
    style: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if suffix == ".tsv" else {"strict": True}
    return table_rows(file, header=header, **style)


def need_kind(file: Path) -> Path:
    """The file; UsageError where its suffix is none of `SUFFIXES`."""
    if file.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{file} is not of the kinds {', '.join(SUFFIXES)}.")
    return file


def _folded(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").split())


def _text(file: Path) -> str:
    """The content of a text file; DataError with the line that is not UTF-8."""
    content = file.read_bytes()
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{file}, line {line}: not UTF-8 text ({error.reason}); save it as UTF-8") from error


def _table(file: Path, delimiter: str) -> tuple[tuple[str, ...], list[tuple[int, dict[str, str]]]]:
    """Columns and rows of a table."""
    text = _text(file)
    if stated := re.match(r"sep=(.)\r?\n", text):  # Excel's line before the header
        delimiter, text = delimiter or stated[1], "\n" + text[stated.end() :]
    delimiter = delimiter or _delimiter(text, "\t" if file.suffix.lower() == ".tsv" else ",")
    lines = _cells(file, text, delimiter)
    header = [name.strip() for name in lines[0][1]] if lines else []
    used = [place for place, name in enumerate(header) if not UNNAMED.fullmatch(name)]
    if repeated := sorted({header[place] for place in used if header.count(header[place]) > 1}):
        raise UsageError(f"{file} has several columns called {repeated[0]!r}; rename or remove all but one")
    rows = []
    for line, cells in lines[1:]:
        if len(cells) != len(header):
            raise DataError(f"{file}, line {line}: {len(cells)} columns where the header has {len(header)}")
        rows.append((line, {header[place]: cells[place] for place in used}))
    return tuple(header[place] for place in used), rows


def _delimiter(text: str, default: str) -> str:
    """The delimiter that gives the first row that is not empty most columns."""

    def columns(delimiter: str) -> int:
        try:
            rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
            return next((len(row) for row in rows if row), 0)
        except csv.Error:
            return 0

    return max((default, *DELIMITERS), key=columns)


def _cells(file: Path, text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """The rows of a table, without empty ones, with the numbers of their (last) lines.

    Tables with tabs come with quoted cells (pandas, Excel) or with quotation marks that are part of the text (GLUE).
    They are quoted if every cell that starts with a mark ends with one, and none spans columns and lines at once.
    """
    try:
        rows = _parsed(file, text, delimiter=delimiter, strict=True)
    except DataError:
        if delimiter != "\t":
            raise
    else:
        wide = any("\t" in cell and "\n" in cell for _, cells in rows for cell in cells)
        if delimiter != "\t" or (len({len(cells) for _, cells in rows}) == 1 and not wide):
            return rows
    return _parsed(file, text, delimiter=delimiter, quoting=csv.QUOTE_NONE)


def _parsed(file: Path, text: str, **style: Any) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), **style)
    try:
        return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise DataError(f"{file}, line {reader.line_num}: {error}") from error


def _json_lines(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    for number, line in enumerate(io.StringIO(_text(file), newline=""), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line.strip(), f"{file}, line {number}", nan_is_null=True)
        except VlpromptError as error:
            raise DataError(str(error)) from error
        if not isinstance(row, dict):
            raise DataError(f"{file}, line {number}: not a JSON object")
        yield number, dict(_flat(row))


def _flat(row: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The fields of an object; those of an object inside it have its name in front: target_span1_text."""
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}_")
        elif value is None:
            yield prefix + name, ""
        else:
            yield prefix + name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
