"""AG News: titles and first sentences of articles on four topics."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from vlprompt.data.images import Files
from vlprompt.data.readers.listing import DataError, Listing, Splits, need_file, need_folder
from vlprompt.data.readers.text_files import csv_rows
from vlprompt.data.readers.texts import examples_of, split_texts
from vlprompt.data.texts import Text


def read_ag_news(folder: Path, classes: Sequence[str]) -> Listing:
    r"""Read test.csv and, if it exists, train.csv of label (1 to 4), title, body; a "\" in them is a space.

    Without train.csv the test set is split by a seed; results are then not those of the published test set.
    """
    file = need_folder(folder) / "train.csv"
    test = list(_rows(need_file(folder / "test.csv"), len(classes)))
    if not file.is_file():
        return Listing(tuple(classes), Files(), split_texts(test, classes, 0), "a part of test")
    train = split_texts(list(_rows(file, len(classes))), classes, 0)
    return Listing(tuple(classes), Files(), Splits(train.train + train.test, train.val, examples_of(test)))


def _rows(file: Path, classes: int) -> Iterator[tuple[Text, int]]:
    numbers = {str(label + 1): label for label in range(classes)}
    for line, row in csv_rows(file, strict=True):
        if len(row) != 3 or row[0] not in numbers:
            raise DataError(f"{file}, line {line}: expected a label (1 to {classes}), a title and a body")
        title, body = (" ".join(words.replace("\\", " ").split()) for words in row[1:])
        yield Text.of(title=title, body=body), numbers[row[0]]
