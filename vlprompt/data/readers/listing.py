"""What a reader returns, and the checks that all readers share."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vlprompt.data.images import Example, Images, Item, is_image_name
from vlprompt.data.splits import TEST_SHARE, VAL_SHARE, split_by_seed
from vlprompt.errors import VlpromptError, warn


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
        images: What opens the items.
        splits: The examples.
        test_name: What the test split is.
        domains: Domain names by number.
        unlabelled: Examples without labels to learn from besides.
        templates: Of its own, in place of the descriptor's.
    """

    classes: tuple[str, ...]
    images: Images
    splits: Splits
    test_name: str = "test"
    domains: tuple[str, ...] = ()
    unlabelled: tuple[Example, ...] = ()
    templates: tuple[str, ...] = ()


def check_classes(names: Sequence[str], where: str) -> tuple[str, ...]:
    """The names as a tuple; an error where one is empty, a warning where two give the same prompt ("_" is a space)."""
    if not names:
        raise VlpromptError(f"{where} has no classes")
    spoken = [name.replace("_", " ").strip() for name in names]
    for label, name in enumerate(spoken):
        if not name:
            raise VlpromptError(f"{where}: the name of class {label} is empty; give every class a name")
    twice = [name for name, count in Counter(spoken).items() if count > 1]
    if twice:
        labels = [label for label, name in enumerate(spoken) if name == twice[0]]
        warn(f"{where}: classes {labels} are all called {twice[0]!r}; no prompt can tell them apart by name")
    return tuple(names)


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, hidden ones left out; links are followed."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def images_in(folder: Path) -> Iterator[Path]:
    """The image files of one folder, sorted by name, hidden files left out; no file is opened or even looked at."""
    yield from (folder / name for name in sorted(_names(folder)) if is_image_name(name))


def images_below(folder: Path) -> list[Path]:
    """The image files of a folder and of the folders in it, in the order of their paths."""
    found = list(images_in(folder))
    for name in subfolders(folder):
        found += images_below(folder / name)
    return found


def what_is_there(folder: Path) -> str:
    """The first names in a folder, for an error that says what was found in place of what was expected."""
    names = sorted(name for name in _names(folder) if not name.startswith("."))
    return (", ".join(names[:6]) + (", ..." if len(names) > 6 else "")) or "nothing"


def need_folder(folder: Path, hint: str = "") -> Path:
    """The folder, or an error that names the first missing part of its path."""
    return _need(folder, folder.is_dir(), "folder", hint)


def need_file(file: Path, hint: str = "") -> Path:
    """The file, or an error that names it and the folder it should be in."""
    return _need(file, file.is_file(), "file", hint)


def _names(folder: Path) -> list[str]:
    """The names in a folder, as the disk has them; a path object each would be slow for a million files."""
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]


def _need(path: Path, found: bool, kind: str, hint: str) -> Path:
    if found:
        return path
    if path.exists():
        raise VlpromptError(f"{path} should be a {kind}. {hint}".strip())
    parent = path.parent
    state = f"its folder holds {what_is_there(parent)}" if parent.is_dir() else f"{parent} is not there either"
    raise VlpromptError(f"missing {kind} {path} ({state}). {hint}".strip())


def split_groups(
    groups: Mapping[str, Sequence[Item]],
    seed: int,
    *,
    test_share: float = TEST_SHARE,
    val_share: float = VAL_SHARE,
) -> Splits:
    """Train, val and test for data that has no split of its own, by `splits.split_by_seed`.

    Args:
        groups: The items of each class; labels count the classes in this order.
        seed: Seed of the split.
        test_share: How much of each class is for testing.
        val_share: How much is for validation.
    """
    parts = split_by_seed(groups, seed, test_share=test_share, val_share=val_share)
    return Splits(
        *(
            tuple(
                Example(groups[name][position], label)
                for label, name in enumerate(groups)
                for position in parts[name][number]
            )
            for number in range(3)
        )
    )
