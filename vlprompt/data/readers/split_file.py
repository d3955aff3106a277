"""CoOp's split files: `{"train": [[path, label, class name], ...], "val": [...], "test": [...]}`.

Paths are relative to an image folder. No path is looked up on the disk: a missing image is an error when it is opened
(CoOp, `datasets/oxford_pets.py::read_split`).
"""

from pathlib import Path
from typing import Any

from vlprompt.data.classes import check_classes
from vlprompt.data.images import Example, Files
from vlprompt.data.readers.listing import DataError, LabelNames, Listing, Splits, need_folder, read_json
from vlprompt.data.splits import SPLITS


def read_split_file(file: Path, images: Path) -> Listing:
    """Read a `split_zhou_*.json`, whose paths start from the folder `images`."""
    splits = read_json(file)
    need_folder(images)
    if not isinstance(splits, dict) or not all(isinstance(splits.get(split), list) for split in SPLITS):
        keys = ", ".join(map(str, splits)) if isinstance(splits, dict) else type(splits).__name__
        raise DataError(f"{file} is no split file: expected lists under train, val and test, found {keys}")
    names = LabelNames()
    examples = Splits(*(_examples(splits[split], f"{file}, {split}", images, names) for split in SPLITS))
    return Listing(check_classes(names.in_order(str(file)), str(file)), Files(images), examples)


def _examples(rows: list[Any], where: str, images: Path, names: LabelNames) -> tuple[Example, ...]:
    """The examples of one split; their class names are added to `names`."""
    examples = []
    for position, row in enumerate(rows):
        match row:
            case [str(path), int(label), str(name)] if label >= 0 and path:
                names.add(label, name, f"{where}, entry {position}")
                examples.append(Example(images / path, label))
            case _:
                raise DataError(f"{where}, entry {position}: expected [path, label, class name], found {row!r}")
    return tuple(examples)
