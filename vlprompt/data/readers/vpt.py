"""The lists of Jia et al. (ECCV 2022) for fine-grained data: `train.json`, `val.json`, `test.json`, {path: class}."""

from collections.abc import Mapping
from pathlib import Path

from vlprompt.data.classes import check_classes
from vlprompt.data.images import Example, Files
from vlprompt.data.readers.listing import DataError, Listing, Splits, need_folder, read_json
from vlprompt.data.splits import SPLITS


def read_vpt_lists(folder: Path, images: Path) -> Listing:
    """Read one JSON object for each split, image paths to class numbers; labels count the numbers in order.

    A class has the name of the folder of its images if no other class has images there, else its number.

    Raises:
        DataError: A list is missing or damaged, or has a class that train has not.
    """
    need_folder(images)
    lists = {split: _list(folder / f"{split}.json") for split in SPLITS}
    numbers = sorted(set(lists["train"].values()))
    label = {number: place for place, number in enumerate(numbers)}
    for split, own in lists.items():
        if missing := sorted(set(own.values()) - label.keys()):
            raise DataError(f"{folder / split}.json has class {missing[0]}, which train.json has not")
    names = _names({path: label[number] for path, number in lists["train"].items()}, numbers)
    examples = (tuple(Example(images / path, label[number]) for path, number in own.items()) for own in lists.values())
    return Listing(check_classes(names, str(folder)), Files(images), Splits(*examples))


def _list(file: Path) -> dict[str, int]:
    entries = read_json(file)
    if not isinstance(entries, dict) or not entries:
        raise DataError(f"{file} is no list of images: expected one object of paths and class numbers")
    for path, number in entries.items():
        if not isinstance(number, int) or isinstance(number, bool) or not path:
            raise DataError(f"{file}: {path!r} has class {number!r}; expected a number")
    return entries


def _names(labels: Mapping[str, int], numbers: list[int]) -> list[str]:
    """A name for each class: its folder's without a number or id in front ("001.", "n02085620-"), if it has one."""
    folders: dict[int, set[str]] = {}
    for path, label in labels.items():
        folders.setdefault(label, set()).add(Path(path).parent.name)
    own = [next(iter(folders[label])) for label in range(len(numbers)) if len(folders[label]) == 1]
    if len(set(own)) < len(numbers) or not all(own):
        return [f"class {number}" for number in numbers]
    return [plain_name(name) for name in own]


def plain_name(folder: str) -> str:
    """The name of a class from its folder: "001.Laysan_Albatross" and "n02085620-Chihuahua" lose their number."""
    for mark in (".", "-"):
        first, there, rest = folder.partition(mark)
        if there and rest and first.removeprefix("n").isdecimal():
            return rest
    return folder
