"""Data sets of texts that are Python objects: Hugging Face's, or lists of dictionaries."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vlprompt.data.arguments import columns_of
from vlprompt.data.classes import check_classes, class_names
from vlprompt.data.images import Files
from vlprompt.data.readers.image_datasets import own_classes
from vlprompt.data.readers.labels import label_number
from vlprompt.data.readers.listing import Listing, Splits
from vlprompt.data.readers.texts import examples_of, split_texts
from vlprompt.data.splits import SPLITS
from vlprompt.data.texts import Text
from vlprompt.errors import UsageError, VlpromptError, warn


def read_text_dataset(
    train: Any,
    *,
    val: Any = None,
    test: Any = None,
    text_columns: Sequence[str] = (),
    label_column: str = "label",
    classes: Sequence[str] = (),
    split_seed: int = 0,
) -> Listing:
    """Read data sets whose rows are {"text": ..., "label": number}: lists, Hugging Face data sets or data frames.

    Args:
        train: Training rows; without val and test they are split by a seed.
        val: Rows for choosing settings.
        test: Test rows.
        text_columns: Columns that are texts; without them all whose values are text.
        label_column: Column of class numbers or names, -1 where unknown.
        classes: Class names by label; without them the data set's own (the label's `names`).
        split_seed: Seed of the split where only `train` is given.

    Raises:
        UsageError: No class names were given and the data set has none, or a column is missing.
        VlpromptError: A label is no number or name of a class, or no row has a text.
    """
    text_columns = columns_of(text_columns)
    names = check_classes(
        class_names(() if classes is None else classes) or own_classes(train, label_column), "the data set"
    )
    rows = {
        split: _rows(split, part, text_columns, label_column, names)
        for split, part in zip(SPLITS, (train, val, test), strict=True)
        if part is not None or split == "train"
    }
    if len(rows) == 1:
        return Listing(names, Files(), split_texts(rows["train"], names, split_seed))
    return Listing(names, Files(), Splits(*(examples_of(rows.get(name, ())) for name in SPLITS)))


def _rows(
    split: str, part: Any, columns: Sequence[str], label_column: str, names: Sequence[str]
) -> list[tuple[Text, int]]:
    """The rows of one split that have a text; one warning of the others, and one of rows without a label."""
    rows = part.to_dict("records") if hasattr(part, "to_dict") and hasattr(part, "columns") else part
    if isinstance(rows, str | bytes | Mapping) or not isinstance(rows, Iterable):
        kind = type(part).__name__
        raise UsageError(f"{split} must be a list of rows such as {{'text': 'a fine film', 'label': 0}}; got a {kind}")
    read = [_row(f"example {number} of {split}", row, columns, label_column, names) for number, row in enumerate(rows)]
    empty = [number for number, (text, _) in enumerate(read) if not any(map(str.strip, text.values()))]
    if empty and len(empty) == len(read):
        raise VlpromptError(f"example 0 of {split}: no text")
    if empty:
        warn(f"{len(empty)} examples of {split} have no text and are left out; the first is number {empty[0]}")
    missing = [number for number, (_, label) in enumerate(read) if label is None]
    if missing:
        warn(f"{len(missing)} examples of {split} have no label and are unlabelled; the first is number {missing[0]}")
    left_out = set(empty)
    return [(text, -1 if own is None else own) for number, (text, own) in enumerate(read) if number not in left_out]


def _row(
    where: str, row: Any, columns: Sequence[str], label_column: str, names: Sequence[str]
) -> tuple[Text, int | None]:
    """The text of one row, and its label (None where it is missing)."""
    if not isinstance(row, Mapping):
        raise UsageError(f"{where} must be a dictionary such as {{'text': 'a fine film', 'label': 0}}; got {row!r}")
    own = list(columns) or [name for name, value in row.items() if isinstance(value, str) and name != label_column]
    for name in (*own, label_column):
        if name not in row:
            raise UsageError(f"{where} has no column {name!r}; its columns are: {', '.join(map(str, row))}")
    text = Text(tuple((name, "" if _is_missing(row[name]) else str(row[name])) for name in own))
    if any("\ud800" <= letter <= "\udfff" for words in text.values() for letter in words):
        raise VlpromptError(f"{where} contains half of a surrogate pair, which is no character; correct it")
    return text, label_number(row[label_column], names, where)


def _is_missing(value: Any) -> bool:
    """Whether a cell is None or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))
