"""Data sets of texts that are Python objects: Hugging Face's, or lists of dictionaries."""

from collections.abc import Sequence
from typing import Any

from vlprompt.data.classes import check_classes
from vlprompt.data.images import Files
from vlprompt.data.readers.image_datasets import class_names
from vlprompt.data.readers.listing import Listing, Splits
from vlprompt.data.readers.texts import examples_of, split_texts
from vlprompt.data.splits import SPLITS
from vlprompt.data.texts import Text
from vlprompt.errors import UsageError, VlpromptError


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
    """Read data sets whose rows are {"text": ..., "label": number}.

    Args:
        train: Training rows; without val and test they are split by a seed.
        val: Rows for choosing settings.
        test: Test rows.
        text_columns: Columns that are texts; without them all whose values are text.
        label_column: Column of class numbers, -1 where unknown.
        classes: Class names by label; without them the data set's own (the label's `names`).
        split_seed: Seed of the split where only `train` is given.

    Raises:
        UsageError: No class names were given and the data set has none, or a column is missing.
        VlpromptError: A label is not a number of a class, or a row has no text.
    """
    names = check_classes(list(classes) or class_names(train, label_column), "the data set")
    rows = {
        name: [
            _row(f"example {number} of {name}", row, text_columns, label_column, len(names))
            for number, row in enumerate(part)
        ]
        for name, part in zip(SPLITS, (train, val, test), strict=True)
        if part is not None
    }
    if len(rows) == 1:
        return Listing(names, Files(), split_texts(rows["train"], names, split_seed))
    return Listing(names, Files(), Splits(*(examples_of(rows.get(name, ())) for name in SPLITS)))


def _row(where: str, row: Any, columns: Sequence[str], label_column: str, classes: int) -> tuple[Text, int]:
    own = list(columns) or [name for name, value in row.items() if isinstance(value, str) and name != label_column]
    for name in (*own, label_column):
        if name not in row:
            raise UsageError(f"{where} has no column {name!r}; its columns are: {', '.join(row)}")
    text = Text(tuple((name, str(row[name])) for name in own))
    if not any(words.strip() for words in text.values()):
        raise VlpromptError(f"{where}: no text")
    label = row[label_column]
    if isinstance(label, str) or not -1 <= int(label) < classes:
        raise VlpromptError(f"{where} has label {label!r}; there are {classes} classes, so labels go to {classes - 1}")
    return text, int(label)
