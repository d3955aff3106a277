"""CUB-200-2011 and NABirds: numbered images in `images.txt`, with a list each for classes, labels and the split.

What is not for testing is split by our seeded rule within each class: 90 % train, 10 % val, as Jia et al. (ECCV 2022)
divide it for their choice of settings; their own lists are another layout (`vpt.py`).
"""

from collections.abc import Mapping
from pathlib import Path

from vlprompt.data.images import Example, Files
from vlprompt.data.readers.listing import Listing, Splits, check_classes, need_file, need_folder, split_groups
from vlprompt.data.readers.table import pairs
from vlprompt.errors import VlpromptError

VAL_SHARE = 0.1


def read_cub(folder: Path, images: Path, *, hint: str = "", split_seed: int = 0) -> Listing:
    """Read the published text lists; labels count the classes that have images, in the order of their numbers.

    Args:
        folder: Holds images.txt, image_class_labels.txt, train_test_split.txt and classes.txt.
        images: Folder that paths start from.
        hint: Where to get what is missing, for the error.
        split_seed: Of the validation images.

    Raises:
        VlpromptError: A list is missing or damaged, or two of them do not go together.
    """
    names, paths, numbers, trained = (
        _list(need_file(folder / f"{name}.txt", hint), "a number", what)
        for name, what in (
            ("classes", "a class"),
            ("images", "a path"),
            ("image_class_labels", "the number of a class"),
            ("train_test_split", "1 to train or 0 to test"),
        )
    )
    need_folder(images, hint)
    for name, own in (("image_class_labels", numbers), ("train_test_split", trained)):
        _same_images(folder / f"{name}.txt", own, paths)
    for image, number in numbers.items():
        if number not in names:
            raise VlpromptError(f"{folder / 'image_class_labels.txt'}: image {image} has unknown class {number}")
    for image, part in trained.items():
        if part not in ("0", "1"):
            raise VlpromptError(f"{folder / 'train_test_split.txt'}: image {image} has {part!r}, neither 0 nor 1")
    used = sorted(set(numbers.values()), key=lambda number: (len(number), number))
    classes = check_classes([_spoken(names[number]) for number in used], str(folder / "classes.txt"))
    label = {number: place for place, number in enumerate(used)}
    test = tuple(Example(images / paths[i], label[numbers[i]]) for i in paths if trained[i] == "0")
    learned: dict[str, list[Path]] = {number: [] for number in used}
    for image, path in paths.items():
        if trained[image] == "1":
            learned[numbers[image]].append(images / path)
    split = split_groups(learned, split_seed, test_share=0, val_share=VAL_SHARE)
    return Listing(classes, Files(images), Splits(split.train, split.val, test))


def _list(file: Path, left: str, right: str) -> dict[str, str]:
    """A list as a mapping."""
    found: dict[str, str] = {}
    for where, number, value in pairs(file, left, right):
        if number in found:
            raise VlpromptError(f"{where}: {number} stands there twice")
        found[number] = value
    return found


def _same_images(file: Path, own: Mapping[str, str], images: Mapping[str, str]) -> None:
    if odd := sorted(own.keys() ^ images.keys()):
        states = "has no line for" if odd[0] in images else "has a line for unknown"
        raise VlpromptError(f"{file} {states} image {odd[0]} ({len(odd)} differ from images.txt); get it again")


def _spoken(name: str) -> str:
    """CUB writes "001.Black_footed_Albatross"."""
    number, dot, rest = name.partition(".")
    return rest if dot and number.isdecimal() else name
