"""The lists of Jia et al. (ECCV 2022) for fine-grained data: `train.json`, `val.json`, `test.json`, {path: class}."""

import json
from collections.abc import Mapping
from pathlib import Path

from vlprompt.data.images import Example, Files
from vlprompt.data.readers.listing import Listing, Splits, check_classes, need_file, need_folder
from vlprompt.errors import VlpromptError


def read_vpt_lists(folder: Path, images: Path, *, hint: str = "") -> Listing:
    """Read one JSON object for each split, image paths to numbers of classes; labels count the numbers in order.

    A class is named by the folder of its images where each class has one of its own, else by its number.

    Raises:
        VlpromptError: A list is missing or damaged, or has a class that train has not.
    """
    need_folder(images, hint)
    parts = {part: _list(need_file(folder / f"{part}.json", hint), hint) for part in Splits._fields}
    used = sorted(set(parts["train"].values()))
    label = {number: place for place, number in enumerate(used)}
    for part, own in parts.items():
        if strange := sorted(set(own.values()) - label.keys()):
            raise VlpromptError(f"{folder / part}.json has class {strange[0]}, which train.json has not")
    names = _names({path: label[number] for path, number in parts["train"].items()}, used)
    found = (tuple(Example(images / path, label[number]) for path, number in own.items()) for own in parts.values())
    return Listing(check_classes(names, str(folder)), Files(images), Splits(*found))


def _list(file: Path, hint: str) -> dict[str, int]:
    try:
        found = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise VlpromptError(f"{file} is not readable JSON: {error}; get it again. {hint}".strip()) from error
    if not isinstance(found, dict) or not found:
        raise VlpromptError(f"{file} is no list of images: expected one object of paths and class numbers")
    for path, number in found.items():
        if not isinstance(number, int) or isinstance(number, bool) or not path:
            raise VlpromptError(f"{file}: {path!r} has class {number!r}; expected a number")
    return found


def _names(labels: Mapping[str, int], used: list[int]) -> list[str]:
    """A name for each class: its folder's without a number or id in front ("001.", "n02085620-"), if it has one."""
    folders: dict[int, set[str]] = {}
    for path, label in labels.items():
        folders.setdefault(label, set()).add(Path(path).parent.name)
    own = [next(iter(folders[label])) for label in range(len(used)) if len(folders[label]) == 1]
    if len(set(own)) < len(used) or not all(own):
        return [f"class {number}" for number in used]
    return [plain_name(name) for name in own]


def plain_name(folder: str) -> str:
    """The name of a class from its folder: "001.Laysan_Albatross", "n02085620-Chihuahua" or as it is."""
    for mark in (".", "-"):
        first, there, rest = folder.partition(mark)
        if there and rest and first.removeprefix("n").isdecimal():
            return rest
    return folder
