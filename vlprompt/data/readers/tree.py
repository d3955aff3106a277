"""The images below a folder, and a count of everything that is left out."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from vlprompt.data.images import is_image_name
from vlprompt.data.readers.listing import scan
from vlprompt.errors import warn

SIDE_FILES = frozenset({"thumbs.db", "desktop.ini"})  # of Windows; those of macOS and Linux are hidden


@dataclass
class Tree:
    """The images of one class folder.

    Attributes:
        images: Its image files, in the order of their folders, those of a folder sorted by name.
        direct: How many of them are in the class folder itself.
        folders: Its folders that hold images.
        skipped: Files that are no images, by suffix.
    """

    images: list[Path] = field(default_factory=list)
    direct: int = 0
    folders: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def read_tree(folder: Path) -> Tree:
    """List a folder and the folders in it, without hidden names; links are followed, but not to a folder above.

    Raises:
        DataError: A folder cannot be listed.
    """
    tree = Tree()
    names, deeper = [], []
    for entry in scan(folder):
        if entry.name.startswith(".") or entry.name.lower() in SIDE_FILES:
            continue
        if entry.is_dir():
            if not (entry.is_symlink() and _is_above(Path(entry.path), folder)):
                deeper.append(entry.name)
        elif is_image_name(entry.name) and (entry.is_file() or entry.is_symlink()):  # a broken link fails when opened
            names.append(entry.name)
        else:
            kind = Path(entry.name).suffix.lower() or "no suffix"
            tree.skipped[kind if not is_image_name(entry.name) else f"{kind} that is a pipe or a device"] += 1
    tree.images = [folder / name for name in sorted(names)]
    tree.direct = len(names)
    for name in sorted(deeper):
        below = read_tree(folder / name)
        tree.images += below.images
        tree.skipped += below.skipped
        tree.folders += [name] if below.images else []
    return tree


def warn_of_skipped(folder: Path, skipped: Counter[str]) -> None:
    """Warn once of all files that are no images."""
    if total := sum(skipped.values()):
        listed = ", ".join(f"{suffix} ({count})" for suffix, count in skipped.most_common(8))
        warn(f"{folder}: {total} files are left out because of their suffix: {listed}; convert those that are images")


def _is_above(link: Path, folder: Path) -> bool:
    return folder.resolve().is_relative_to(link.resolve())
