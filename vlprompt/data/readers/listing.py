"""The result of a reader, and the checks that readers share."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vlprompt.data.images import Example, Images, Item, is_image_name
from vlprompt.data.splits import TEST_SHARE, VAL_SHARE, split_by_seed
from vlprompt.errors import VlpromptError
from vlprompt.files import parse_json, reason


class DataError(VlpromptError):
    """A data set on the disk is incomplete or damaged; the catalogue adds where to get it."""


class Splits(NamedTuple):
    """The examples of each split, any of which may be empty."""

    train: tuple[Example, ...] = ()
    val: tuple[Example, ...] = ()
    test: tuple[Example, ...] = ()


@dataclass(frozen=True)
class Listing:
    """The contents of a data set.

    Attributes:
        classes: Class names by label.
        images: Opens the items.
        splits: The examples.
        test_name: What the test split is, see `Task.test_name`.
        domains: Domain names by number.
        unlabelled: Further examples, without labels.
        templates: The data set's own templates, which replace the descriptor's.
    """

    classes: tuple[str, ...]
    images: Images
    splits: Splits
    test_name: str = "test"
    domains: tuple[str, ...] = ()
    unlabelled: tuple[Example, ...] = ()
    templates: tuple[str, ...] = ()


class LabelNames(dict[int, str]):
    """Class names by label, collected while a list is read."""

    def add(self, label: int, name: str, where: str) -> None:
        """Record the name of a label; DataError where the label has another name already."""
        if self.setdefault(label, name) != name:
            raise DataError(f"{where}: label {label} is both {self[label]!r} and {name!r}")

    def in_order(self, source: str, first: int = 0) -> list[str]:
        """The names by label, counted from `first`; DataError where a label has no name."""
        gap = next((label for label in range(first, first + len(self)) if label not in self), None)
        if gap is not None:
            raise DataError(f"{source}: no entry has the label {gap}; labels must count from {first} without gaps")
        return [self[label] for label in sorted(self)]


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, without hidden ones; links are followed."""
    return sorted(entry.name for entry in scan(folder) if not entry.name.startswith(".") and entry.is_dir())


def scan(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder; DataError where the system refuses to list it."""
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise DataError(f"{folder} cannot be listed ({reason(error)}); check its permissions") from error


def images_in(folder: Path) -> Iterator[Path]:
    """The image files of one folder, sorted by name, without hidden ones; no file is opened."""
    yield from (folder / name for name in sorted(_names(folder)) if is_image_name(name))


def images_below(folder: Path) -> list[Path]:
    """The image files of a folder and of the folders in it, in the order of their paths."""
    paths = list(images_in(folder))
    for name in subfolders(folder):
        paths += images_below(folder / name)
    return paths


def contents(folder: Path) -> str:
    """The first names in a folder, for an error message."""
    names = sorted(name for name in _names(folder) if not name.startswith("."))
    return (", ".join(names[:6]) + (", ..." if len(names) > 6 else "")) or "nothing"


def need_images(folder: Path) -> list[Path]:
    """The image files of one folder, sorted by name; DataError where it is missing or has none."""
    paths = list(images_in(need_folder(folder)))
    if not paths:
        raise DataError(f"{folder} has no images; it holds {contents(folder)}.")
    return paths


def need_folder(folder: Path) -> Path:
    """The folder; DataError with the contents of its parent if it is missing."""
    return _need(folder, folder.is_dir(), "folder")


def need_file(file: Path) -> Path:
    """The file; DataError with the contents of its folder if it is missing."""
    return _need(file, file.is_file(), "file")


def read_json(file: Path) -> Any:
    """The contents of a JSON file; DataError if it is missing or damaged."""
    content = need_file(file).read_bytes()
    try:
        return parse_json(content, "it")
    except VlpromptError as error:
        raise DataError(f"{file} is not readable JSON: {str(error).removesuffix('.')}; get it again.") from error


def split_groups(
    groups: Mapping[str, Sequence[Item]],
    seed: int,
    *,
    test_share: float = TEST_SHARE,
    val_share: float = VAL_SHARE,
) -> Splits:
    """Train, val and test for data without a split, by `splits.split_by_seed`.

    Args:
        groups: The items of each class; labels count the classes in this order.
        seed: Seed of the split.
        test_share: Share of each class for testing.
        val_share: Share of each class for validation.
    """
    parts = split_by_seed(groups, seed, test_share=test_share, val_share=val_share)
    splits = (
        tuple(
            Example(groups[name][position], label)
            for label, name in enumerate(groups)
            for position in parts[name][number]
        )
        for number in range(3)
    )
    return Splits(*splits)


def _names(folder: Path) -> list[str]:
    """All names in a folder, unsorted; strings, because a path object each would be slow for a million files."""
    return [entry.name for entry in scan(folder)]


def _need(path: Path, exists: bool, kind: str) -> Path:
    if exists:
        return path
    if path.exists():
        raise DataError(f"{path} should be a {kind}.")
    parent = path.parent
    state = f"its folder holds {contents(parent)}" if parent.is_dir() else f"{parent} is missing too"
    raise DataError(f"missing {kind} {path} ({state}).")
