"""SST-2 as Kim (2014) split it: sentences of film reviews, negative or positive."""

from collections.abc import Sequence
from pathlib import Path

from vlprompt.data.images import Example, Files
from vlprompt.data.readers.listing import Listing, Splits, need_file, need_folder
from vlprompt.data.readers.table import lines
from vlprompt.data.texts import Text
from vlprompt.errors import VlpromptError


def read_sst2(folder: Path, classes: Sequence[str], *, hint: str = "") -> Listing:
    """Read stsa.binary.train, .dev and .test, a line "LABEL sentence" each."""
    splits = []
    for part in ("train", "dev", "test"):
        file = need_file(need_folder(folder, hint) / f"stsa.binary.{part}", hint)
        rows = []
        for number, line in enumerate(lines(file), start=1):
            label, _, sentence = line.strip().partition(" ")
            if not sentence or label not in ("0", "1"):
                raise VlpromptError(f"{file}, line {number}: not a label, 0 or 1, and a sentence")
            rows.append(Example(Text.of(text=sentence), int(label)))
        splits.append(tuple(rows))
    return Listing(tuple(classes), Files(), Splits(*splits))
