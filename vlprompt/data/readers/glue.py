"""GLUE, SuperGLUE, FewGLUE, and whatever else has a file of rows for each split, as a descriptor says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vlprompt.data.images import Example, Files
from vlprompt.data.readers.listing import Listing, Splits, need_file, need_folder
from vlprompt.data.readers.texts import records
from vlprompt.data.texts import Text
from vlprompt.errors import VlpromptError, unknown, warn

NO_CONSENSUS = "-"  # SNLI's and MNLI's rows on whose class the annotators did not agree
UNLABELLED = "unlabeled.jsonl"  # FewGLUE's


@dataclass(frozen=True)
class Layout:
    """Where rows lie and what their columns mean.

    Attributes:
        files: {split: file}; of GLUE and SuperGLUE, whose test labels are not public, the dev file is "test".
        columns: {field of the text: column}. Inner JSON objects are columns with their names joined: target_span1_text.
        label: The column of classes: names, or numbers from 0.
        header: Names of the columns of a table that has no header line (CoLA).
        optional: Fields that a row may lack, as the fourth of four choices.
    """

    files: Mapping[str, str]
    columns: Mapping[str, str]
    label: str = "label"
    header: tuple[str, ...] = ()
    optional: tuple[str, ...] = field(default=())


def read_glue(folder: Path, classes: Sequence[str], layout: Layout, *, hint: str = "") -> Listing:
    """Read the rows of all splits, and FewGLUE's unlabelled ones where there are any.

    Raises:
        VlpromptError: A file, a column or a label that is missing, or a label that is no class; with the line.
    """
    found = {}
    for split, name in layout.files.items():
        file = need_file(need_folder(folder, hint) / name, hint)
        found[split] = _examples(file, classes, layout)
    twice = {example.item for example in found.get("train", ())} & {example.item for example in found.get("test", ())}
    if twice:
        warn(f"{folder}: {len(twice)} texts stand both in train and in test; figures on them say little")
    more = folder / UNLABELLED
    unlabelled = _examples(more, classes, layout, labelled=False) if more.is_file() else ()
    splits = Splits(*(found.get(split, ()) for split in Splits._fields))
    return Listing(tuple(classes), Files(), splits, unlabelled=unlabelled)


def _examples(file: Path, classes: Sequence[str], layout: Layout, *, labelled: bool = True) -> tuple[Example, ...]:
    """The examples of one file."""
    known = {str(label): label for label in range(len(classes))} | {name: label for label, name in enumerate(classes)}
    made = []
    for number, row in records(file, layout.header):
        where = f"{file}, line {number}"
        text = _text(row, layout, where)
        label = row.get(layout.label, "").strip()
        if not labelled:
            made.append(Example(text, -1))
        elif label in known:
            made.append(Example(text, known[label]))
        elif label != NO_CONSENSUS:
            raise VlpromptError(f"{where}: {unknown('class', label, classes) if label else _no_label(layout, row)}")
    return tuple(made)


def _text(row: Mapping[str, str], layout: Layout, where: str) -> Text:
    """The fields of a row.

    Raises:
        VlpromptError: One that must be there is missing or empty.
    """
    fields = {}
    for name, column in layout.columns.items():
        value = row.get(column, "").strip()
        if not value and name not in layout.optional:
            state = "is empty" if column in row else f"is missing; there are {', '.join(row) or 'none'}"
            raise VlpromptError(f"{where}: column {column!r} {state}")
        if value:
            fields[name] = value
    return Text.of(**fields)


def _no_label(layout: Layout, row: Mapping[str, str]) -> str:
    return f"no class in column {layout.label!r}; there are {', '.join(row)}"
