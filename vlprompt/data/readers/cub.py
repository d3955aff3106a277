"""CUB-200-2011 and NABirds: numbered images in `images.txt`, and lists for class names, labels and the split.

Images that are not for testing are split by a seed within each class: 90 % train, 10 % val, as Jia et al. (ECCV 2022)
do to choose settings; their own lists have another layout (`vpt.py`).
"""

from collections.abc import Mapping
from pathlib import Path

from vlprompt.data.classes import check_classes
from vlprompt.data.images import Example, Files
from vlprompt.data.readers.listing import DataError, Listing, Splits, need_folder, split_groups
from vlprompt.data.readers.text_files import pairs

VAL_SHARE = 0.1


def read_cub(folder: Path, images: Path, *, split_seed: int = 0) -> Listing:
    """Read the published text lists; labels count the classes that have images, in the order of their numbers.

    Args:
        folder: Holds images.txt, image_class_labels.txt, train_test_split.txt and classes.txt.
        images: Folder that paths start from.
        split_seed: Seed of the choice of validation images.
    """
    names = _list(folder / "classes.txt", "a class")
    paths = _list(folder / "images.txt", "a path")
    numbers = _list(folder / "image_class_labels.txt", "the number of a class")
    trained = _list(folder / "train_test_split.txt", "1 to train or 0 to test")
    need_folder(images)
    for name, own in (("image_class_labels", numbers), ("train_test_split", trained)):
        _check_images(folder / f"{name}.txt", own, paths)
    for image, number in numbers.items():
        if number not in names:
            raise DataError(f"{folder / 'image_class_labels.txt'}: image {image} has unknown class {number}")
    for image, part in trained.items():
        if part not in ("0", "1"):
            raise DataError(f"{folder / 'train_test_split.txt'}: image {image} has {part!r}, neither 0 nor 1")
    used = sorted(set(numbers.values()), key=lambda number: (len(number), number))
    classes = check_classes([_without_number(names[number]) for number in used], str(folder / "classes.txt"))
    label = {number: place for place, number in enumerate(used)}
    test = tuple(Example(images / paths[i], label[numbers[i]]) for i in paths if trained[i] == "0")
    groups: dict[str, list[Path]] = {number: [] for number in used}
    for image, path in paths.items():
        if trained[image] == "1":
            groups[numbers[image]].append(images / path)
    split = split_groups(groups, split_seed, test_share=0, val_share=VAL_SHARE)
    return Listing(classes, Files(images), Splits(split.train, split.val, test))


def _list(file: Path, value_name: str) -> dict[str, str]:
    """A list of "NUMBER VALUE" as a mapping."""
    values: dict[str, str] = {}
    for where, number, value in pairs(file, "a number", value_name):
        if number in values:
            raise DataError(f"{where}: {number} is listed twice")
        values[number] = value
    return values


def _check_images(file: Path, own: Mapping[str, str], images: Mapping[str, str]) -> None:
    if odd := sorted(own.keys() ^ images.keys()):
        states = "has no line for" if odd[0] in images else "has a line for unknown"
        raise DataError(f"{file} {states} image {odd[0]} ({len(odd)} differ from images.txt); get it again")


def _without_number(name: str) -> str:
    """The name of "001.Black_footed_Albatross", as CUB writes it."""
    number, dot, rest = name.partition(".")
    return rest if dot and number.isdecimal() else name
