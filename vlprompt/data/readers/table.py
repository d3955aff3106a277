"""A table of images: one row an image, with columns for its path, its class and, optionally, its split."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from vlprompt.data.arguments import path_of
from vlprompt.data.classes import check_classes, class_names, in_order
from vlprompt.data.images import Example, Files
from vlprompt.data.readers.folder import SPLIT_NAMES
from vlprompt.data.readers.listing import Listing, Splits, split_groups
from vlprompt.data.readers.rows import Table, given, read_table, whole
from vlprompt.data.readers.text_files import label_numbers
from vlprompt.data.splits import SPLITS
from vlprompt.errors import VlpromptError, unknown, warn

PATH_COLUMNS = ("path", "file", "filename", "image", "filepath", "file_name", "image_path")
SPLIT_OF = {name: split for split, names in SPLIT_NAMES.items() for name in names}
Row = tuple[str, Path, str, str]  # file and line, path, label, split


def read_csv(
    file: Path,
    *,
    path_column: str = "",
    label_column: str = "label",
    split_column: str = "split",
    classes: Sequence[str] = (),
    root: Path | None = None,
    delimiter: str = "",
    split_seed: int = 0,
) -> Listing:
    """Read rows of (path, class name[, split]).

    Args:
        file: The table, with the column names in the first line, see `rows.read_table`.
        path_column: Column of image paths, relative to `root` or absolute; without it, the first of `PATH_COLUMNS`.
        label_column: Column of class names; with `classes`, numbers are labels.
        split_column: Column of train, val or test; without it the rows are split as class folders are.
        classes: Class names by label; without them, all names that occur, sorted (numbers by their value).
        root: Folder of relative paths; without it, the folder of the table.
        delimiter: Between columns; without it, the file's own.
        split_seed: Seed of the split where the table has none.

    Raises:
        VlpromptError: With the line that cannot be read.
        UsageError: A column is missing.
    """
    file, classes = Path(file).expanduser(), class_names(() if classes is None else classes)
    folder = path_of(root) if root is not None else file.parent
    table = read_table(file, delimiter)
    rows = _without_repeats(file, _rows(table, folder, (path_column, label_column, split_column), classes))
    names = check_classes(classes or in_order({label for _, _, label, _ in rows}), str(file))
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


def _rows(table: Table, folder: Path, names: tuple[str, str, str], classes: Sequence[str]) -> list[Row]:
    """The rows, each checked; the split is "" everywhere where there is no such column."""
    path_names = (names[0],) if names[0] else PATH_COLUMNS
    hint = "" if names[0] else f"; a column of paths is called {', '.join(PATH_COLUMNS)}, or give path_column="
    path_column, label_column = table.need(*path_names, hint=hint), table.need(names[1])
    split_column = table.find(names[2]) if names[2] == "split" else table.need(names[2])
    rows = []
    for line, row in table.rows:
        where, split = f"{table.file}, line {line}", ""
        path, label = given(row.get(path_column, "")), given(row.get(label_column, ""), classes)
        for column, value in ((path_column, path), (label_column, label)):
            if not value:
                raise VlpromptError(f"{where}: column {column!r} is empty")
        if split_column:
            split = row.get(split_column, "").strip().lower()
            if split not in SPLIT_OF:
                raise VlpromptError(f"{where}: {unknown('split', row.get(split_column, ''), SPLITS)}")
            split = SPLIT_OF[split]
        rows.append((where, _path(folder, path), whole(label) if classes and label not in classes else label, split))
    return rows


def _path(folder: Path, text: str) -> Path:
    """The path of an image; backslashes, as Windows writes them, separate folders unless they are in a file's name."""
    try:
        path = folder / Path(text).expanduser()
        if "\\" in text and os.sep != "\\" and not path.exists():
            return folder / Path(text.replace("\\", "/")).expanduser()
    except (OSError, RuntimeError):  # too long a name, or no home folder of that user
        return folder / text
    return path


def _without_repeats(file: Path, rows: Sequence[Row]) -> list[Row]:
    """The rows without repeats of image, class and split; a warning of repeats, and one of images of two classes."""
    unique = {row[1:]: row for row in reversed(rows)}
    if len(unique) < len(rows):
        warn(f"{file}: {len(rows) - len(unique)} rows repeat another one and are left out")
    classes = Counter(path for path, _ in {(path, label) for path, label, _ in unique})
    if several := [path for path, count in classes.items() if count > 1]:
        warn(f"{file}: {len(several)} images are in rows of different classes; the first: {several[0]}")
    return list(reversed(unique.values()))
