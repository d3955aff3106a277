"""SST-2 with the split of Kim (2014): sentences of film reviews, negative or positive."""

from collections.abc import Sequence
from pathlib import Path

from vlprompt.data.images import Example, Files
from vlprompt.data.readers.listing import DataError, Listing, Splits, need_folder
from vlprompt.data.readers.text_files import pairs
from vlprompt.data.texts import Text


def read_sst2(folder: Path, classes: Sequence[str]) -> Listing:
    """Read stsa.binary.train, .dev and .test, a line "LABEL sentence" each; DataError where a line has another form."""
    need_folder(folder)
    splits = (_examples(folder / f"stsa.binary.{part}") for part in ("train", "dev", "test"))
    return Listing(tuple(classes), Files(), Splits(*splits))


def _examples(file: Path) -> tuple[Example, ...]:
    examples = []
    for where, label, sentence in pairs(file, "a label, 0 or 1,", "a sentence"):
        if label not in ("0", "1"):
            raise DataError(f"{where}: expected a label, 0 or 1, and a sentence, found label {label!r}")
        examples.append(Example(Text.of(text=sentence), int(label)))
    return tuple(examples)
