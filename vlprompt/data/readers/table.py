"""A CSV file with a header: one row an image, with columns for its path, its class and, if there is one, its split."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from vlprompt.data.images import Example, Files
from vlprompt.data.readers.folder import SPLITS
from vlprompt.data.readers.listing import Listing, Splits, check_classes, need_file, split_groups
from vlprompt.errors import UsageError, VlpromptError, unknown

PARTS = {name: part for part, names in SPLITS.items() for name in names}
Row = tuple[int, Path, str, str]  # line, path, label, split


def read_csv(
    file: Path,
    *,
    path_column: str = "path",
    label_column: str = "label",
    split_column: str = "split",
    classes: Sequence[str] = (),
    root: Path | None = None,
    delimiter: str = "",
    split_seed: int = 0,
) -> Listing:
    """Read rows of (path, class name[, split]).

    Args:
        file: The table, UTF-8, first line the column names.
        path_column: Column of image paths, relative to `root` or absolute.
        label_column: Column of class names; with `classes`, numbers count into them.
        split_column: Column of train, val or test; without it the rows are split as class folders are.
        classes: Class names by label; without them, all names that occur, sorted.
        root: Folder of relative paths; without it, the folder of the table.
        delimiter: Between columns; without it a tab for `.tsv` and a comma for all others.
        split_seed: Seed of the split that is made where the table has none.

    Raises:
        VlpromptError: With the line that cannot be read.
        UsageError: A column that is not there.
    """
    file = need_file(Path(file).expanduser())
    folder = Path(root).expanduser() if root is not None else file.parent
    delimiter = delimiter or ("\t" if file.suffix.lower() == ".tsv" else ",")
    rows = list(_rows(file, folder, (path_column, label_column, split_column), delimiter))
    if not rows:
        raise VlpromptError(f"{file} has a header but no rows")
    names = check_classes(list(classes) or sorted({label for _, _, label, _ in rows}), str(file))
    number = {str(label): label for label in range(len(names))} if classes else {}
    number |= {name: label for label, name in enumerate(names)}
    for line, _, label, _ in rows:
        if label not in number:
            raise VlpromptError(f"{file}, line {line}: {unknown('class', label, names)}")
    if any(split for _, _, _, split in rows):
        splits = Splits(*(tuple(Example(p, number[c]) for _, p, c, s in rows if s == part) for part in SPLITS))
    else:
        groups: dict[str, list[Path]] = {name: [] for name in names}
        for _, path, label, _ in rows:
            groups[names[number[label]]].append(path)
        splits = split_groups(groups, split_seed)
    return Listing(names, Files(folder), splits)


def _rows(file: Path, folder: Path, columns: tuple[str, str, str], delimiter: str) -> Iterator[Row]:
    """The rows, checked one by one; the split is "" throughout where there is no such column."""
    reader = csv.DictReader(lines(file), delimiter=delimiter, strict=True)
    try:
        header = reader.fieldnames or []
        for column in columns[:2]:
            if column not in header:
                raise UsageError(f"{file} has no column {column!r}; its columns are: {', '.join(header) or 'none'}")
        for row in reader:
            yield _row(row, f"{file}, line {reader.line_num}", reader.line_num, folder, columns)
    except csv.Error as error:
        raise VlpromptError(f"{file}, line {reader.reader.line_num}: {error}") from error


def _row(row: dict[str, str | None], where: str, line: int, folder: Path, columns: tuple[str, str, str]) -> Row:
    path, label = (row[column] or "" for column in columns[:2])
    for column, value in zip(columns, (path, label), strict=False):
        if not value.strip():
            raise VlpromptError(f"{where}: column {column!r} is empty")
    split = ""
    if columns[2] in row:
        given = (row[columns[2]] or "").strip()
        if given.lower() not in PARTS:
            raise VlpromptError(f"{where}: {unknown('split', given, SPLITS)}")
        split = PARTS[given.lower()]
    return line, folder / path.strip(), label.strip(), split


def lines(file: Path) -> Iterator[str]:
    """The lines of a text file; an error names the one that is not UTF-8."""
    with file.open("rb") as raw:
        for number, line in enumerate(raw, start=1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise VlpromptError(f"{file}, line {number}: not UTF-8 text ({error.reason})") from error


def pairs(file: Path, left: str, right: str, *, at_last_blank: bool = False) -> Iterator[tuple[str, str, str]]:
    """The lines of a list of "LEFT RIGHT", each with where it stands; empty lines are passed over.

    Args:
        file: The list, UTF-8.
        left: What stands on the left, for the error.
        right: What stands on the right.
        at_last_blank: What is on the left may hold blanks, not what is on the right.

    Raises:
        VlpromptError: A line is no such pair.
    """
    for number, line in enumerate(lines(file), start=1):
        where, text = f"{file}, line {number}", line.strip()
        first, _, second = text.rpartition(" ") if at_last_blank else text.partition(" ")
        if text and not (first.strip() and second.strip()):
            raise VlpromptError(f"{where}: expected {left} and {right}, found {text!r}")
        if text:
            yield where, first.strip(), second.strip()
