"""AG News: titles and openings of articles, in four topics."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from vlprompt.data.images import Files
from vlprompt.data.readers.listing import Listing, Splits, need_file, need_folder
from vlprompt.data.readers.table import lines
from vlprompt.data.readers.texts import examples_of, split_texts
from vlprompt.data.texts import Text
from vlprompt.errors import VlpromptError


def read_ag_news(folder: Path, classes: Sequence[str], *, hint: str = "") -> Listing:
    r"""Read test.csv and, where it is there, train.csv of label (1 to 4), title, body; "\" stands for a space.

    Without train.csv the test set is split by our seeded rule; figures are then not those of the published test set.
    """
    found = {part: need_folder(folder, hint) / f"{part}.csv" for part in ("train", "test")}
    test = list(_ag_news(need_file(found["test"], hint), len(classes)))
    if not found["train"].is_file():
        return Listing(tuple(classes), Files(), split_texts(test, classes, 0), "a part of test")
    train = split_texts(list(_ag_news(found["train"], len(classes))), classes, 0)
    return Listing(tuple(classes), Files(), Splits(train.train + train.test, train.val, examples_of(test)))


def _ag_news(file: Path, classes: int) -> Iterator[tuple[Text, int]]:
    known = {str(label + 1): label for label in range(classes)}
    reader = csv.reader(lines(file), strict=True)
    try:
        for row in reader:
            if len(row) != 3 or row[0] not in known:
                raise VlpromptError(f"{file}, line {reader.line_num}: not a label (1 to {classes}), a title and a body")
            title, body = (" ".join(words.replace("\\", " ").split()) for words in row[1:])
            yield Text.of(title=title, body=body), known[row[0]]
    except csv.Error as error:
        raise VlpromptError(f"{file}, line {reader.line_num}: {error}") from error
