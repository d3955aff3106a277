"""CoOp's split files: `{"train": [[path, label, class name], ...], "val": [...], "test": [...]}`.

Paths are relative to an image folder. Nothing is looked up on the disk: an image that is missing is an error when it is
opened (CoOp, `datasets/oxford_pets.py::read_split`).
"""

import json
from pathlib import Path
from typing import Any

from vlprompt.data.images import Example, Files
from vlprompt.data.readers.listing import Listing, Splits, check_classes, need_file, need_folder
from vlprompt.errors import VlpromptError

PARTS = ("train", "val", "test")


def read_split_file(file: Path, images: Path, *, hint: str = "") -> Listing:
    """Read a `split_zhou_*.json`.

    Args:
        file: The split file.
        images: Folder that its paths start from.
        hint: Where to get what is missing, for the error.

    Raises:
        VlpromptError: A file or folder is missing, the file is not JSON or not a split, or its labels contradict it.
    """
    need_file(file, hint)
    need_folder(images, hint)
    try:
        parts = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise VlpromptError(f"{file} is not readable JSON: {error}; get it again. {hint}".strip()) from error
    if not isinstance(parts, dict) or not all(isinstance(parts.get(part), list) for part in PARTS):
        keys = ", ".join(map(str, parts)) if isinstance(parts, dict) else type(parts).__name__
        raise VlpromptError(f"{file} is no split file: expected lists under train, val and test, found {keys}")
    names: dict[int, str] = {}
    splits = Splits(*(_examples(parts[part], f"{file}, {part}", images, names) for part in PARTS))
    missing = [label for label in range(max(names, default=-1) + 1) if label not in names]
    if missing:
        raise VlpromptError(f"{file}: no entry has the labels {missing[:5]}; labels must count from 0 without gaps")
    classes = check_classes([names[label] for label in sorted(names)], str(file))
    return Listing(classes, Files(images), splits)


def _examples(rows: list[Any], where: str, images: Path, names: dict[int, str]) -> tuple[Example, ...]:
    """The examples of one split; the class names met on the way are collected in `names`."""
    examples = []
    for position, row in enumerate(rows):
        match row:
            case [str(path), int(label), str(name)] if label >= 0 and path:
                pass
            case _:
                raise VlpromptError(f"{where}, entry {position}: expected [path, label, class name], found {row!r}")
        if names.setdefault(label, name) != name:
            raise VlpromptError(f"{where}, entry {position}: label {label} is both {names[label]!r} and {name!r}")
        examples.append(Example(images / path, label))
    return tuple(examples)
