"""GLUE, SuperGLUE, FewGLUE, and other data with a file of rows for each split, whose layout a descriptor gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vlprompt.data.images import Example, Files
from vlprompt.data.readers.listing import DataError, Listing, Splits, need_file, need_folder
from vlprompt.data.readers.rows import records
from vlprompt.data.readers.text_files import label_numbers
from vlprompt.data.splits import SPLITS
from vlprompt.data.texts import Text
from vlprompt.errors import unknown, warn

NO_CONSENSUS = "-"  # the class of SNLI's and MNLI's rows on which the annotators did not agree
UNLABELLED = "unlabeled.jsonl"  # FewGLUE's


@dataclass(frozen=True)
class Layout:
    """The files of rows and the meaning of their columns.

    Attributes:
        files: {split: file}; of GLUE and SuperGLUE, whose test labels are not public, the dev file is "test".
        columns: {field of the text: column}. Inner JSON objects are columns with their names joined: target_span1_text.
        label: The column of classes: names, or numbers from 0.
        header: Names of the columns of a table without a header line (CoLA).
        optional: Fields that a row may lack, as the fourth of four choices.
    """

    files: Mapping[str, str]
    columns: Mapping[str, str]
    label: str = "label"
    header: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


def read_glue(folder: Path, classes: Sequence[str], layout: Layout) -> Listing:
    """Read the rows of all splits, and FewGLUE's unlabelled ones where there are any."""
    need_folder(folder)
    examples = {split: _examples(need_file(folder / name), classes, layout) for split, name in layout.files.items()}
    test = {example.item for example in examples.get("test", ())}
    if shared := {example.item for example in examples.get("train", ())} & test:
        warn(f"{folder}: {len(shared)} texts are both in train and in test; results on them are not reliable")
    more = folder / UNLABELLED
    unlabelled = _examples(more, classes, layout, labelled=False) if more.is_file() else ()
    splits = Splits(*(examples.get(split, ()) for split in SPLITS))
    return Listing(tuple(classes), Files(), splits, unlabelled=unlabelled)


def _examples(file: Path, classes: Sequence[str], layout: Layout, *, labelled: bool = True) -> tuple[Example, ...]:
    """The examples of one file."""
    number = label_numbers(classes, numbers=True)
    examples = []
    for line, row in records(file, layout.header):
        where = f"{file}, line {line}"
        text = _text(row, layout, where)
        label = row.get(layout.label, "").strip()
        if not labelled or label in number:
            examples.append(Example(text, number[label] if labelled else -1))
        elif not label:
            raise DataError(f"{where}: no class in column {layout.label!r}; there are {', '.join(row)}")
        elif label != NO_CONSENSUS:
            raise DataError(f"{where}: {unknown('class', label, classes)}")
    return tuple(examples)


def _text(row: Mapping[str, str], layout: Layout, where: str) -> Text:
    """The fields of a row; DataError where a required one is missing or empty."""
    fields = {}
    for name, column in layout.columns.items():
        value = row.get(column, "").strip()
        if not value and name not in layout.optional:
            state = "is empty" if column in row else f"is missing; there are {', '.join(row) or 'none'}"
            raise DataError(f"{where}: column {column!r} {state}")
        if value:
            fields[name] = value
    return Text.of(**fields)
