"""A table of images: one row an image, with columns for its path, its class and, optionally, its split."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from vlprompt.data.classes import check_classes
from vlprompt.data.images import Example, Files
from vlprompt.data.readers.folder import SPLIT_NAMES
from vlprompt.data.readers.listing import Listing, Splits, need_file, split_groups
from vlprompt.data.readers.text_files import label_numbers, table_rows
from vlprompt.data.splits import SPLITS
from vlprompt.errors import VlpromptError, unknown

SPLIT_OF = {name: split for split, names in SPLIT_NAMES.items() for name in names}
Row = tuple[str, Path, str, str]  # file and line, path, label, split


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
        file: The table, UTF-8, with the column names in the first line.
        path_column: Column of image paths, relative to `root` or absolute.
        label_column: Column of class names; with `classes`, numbers are labels.
        split_column: Column of train, val or test; without it the rows are split as class folders are.
        classes: Class names by label; without them, all names that occur, sorted.
        root: Folder of relative paths; without it, the folder of the table.
        delimiter: Between columns; without it a tab for `.tsv` and a comma for all others.
        split_seed: Seed of the split where the table has none.

    Raises:
        VlpromptError: With the line that cannot be read.
        UsageError: A column is missing.
    """
    file = need_file(Path(file).expanduser())
    folder = Path(root).expanduser() if root is not None else file.parent
    delimiter = delimiter or ("\t" if file.suffix.lower() == ".tsv" else ",")
    rows = list(_rows(file, folder, (path_column, label_column, split_column), delimiter))
    if not rows:
        raise VlpromptError(f"{file} has a header but no rows")
    names = check_classes(list(classes) or sorted({label for _, _, label, _ in rows}), str(file))
    number = label_numbers(names, numbers=bool(classes))
    for where, _, label, _ in rows:
        if label not in number:
            raise VlpromptError(f"{where}: {unknown('class', label, names)}")
    if any(split for _, _, _, split in rows):
        splits = Splits(*(tuple(Example(p, number[c]) for _, p, c, s in rows if s == split) for split in SPLITS))
    else:
        groups: dict[str, list[Path]] = {name: [] for name in names}
        for _, path, label, _ in rows:
            groups[names[number[label]]].append(path)
        splits = split_groups(groups, split_seed)
    return Listing(names, Files(folder), splits)


def _rows(file: Path, folder: Path, columns: tuple[str, str, str], delimiter: str) -> Iterator[Row]:
    """The rows, each checked; the split is "" everywhere where there is no such column."""
    path_column, label_column, split_column = columns
    for line, row in table_rows(file, columns[:2], delimiter=delimiter, strict=True):
        where, split = f"{file}, line {line}", ""
        for column in columns[:2]:
            if not row.get(column, "").strip():
                raise VlpromptError(f"{where}: column {column!r} is empty")
        if split_column in row:
            split = row[split_column].strip().lower()
            if split not in SPLIT_OF:
                raise VlpromptError(f"{where}: {unknown('split', row[split_column], SPLITS)}")
            split = SPLIT_OF[split]
        yield where, folder / row[path_column].strip(), row[label_column].strip(), split
