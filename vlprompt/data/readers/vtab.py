"""VTAB-1k as lists: `train800.txt`, `val200.txt`, `train800val200.txt` and `test.txt` in each task's folder.

Settings are chosen with 800 images to train on and 200 to look at; figures are of a training on all 1,000 ("-final").
"""

from pathlib import Path

from vlprompt.data.images import Example, Files
from vlprompt.data.readers.listing import Listing, Splits, check_classes, need_file, need_folder
from vlprompt.data.readers.table import pairs
from vlprompt.errors import UsageError, VlpromptError

FINAL = "final"
TUNING = ("train800", "val200")
NAMES = "classnames.txt"


def read_vtab(folder: Path, part: str, classes: int, *, hint: str = "") -> Listing:
    """Read one task's lists, lines of "PATH LABEL", paths from the task's folder.

    Args:
        folder: Holds a folder for each task.
        part: A task ("caltech101"), with "-final" to train on all 1,000 images.
        classes: How many classes the task has.
        hint: Where to get what is missing, for the error.

    The lists have no class names: a `classnames.txt` in the task's folder, a line for each label, gives them if you
    have it, else they are "class 0", "class 1", ...

    Raises:
        UsageError: No task is named, or what follows its name is not known.
        VlpromptError: A list is missing, or has a line that cannot be.
    """
    task, dash, stage = part.partition("-")
    if not task or (dash and stage != FINAL):
        given = f"vtab/{part}" if part else "vtab"
        raise UsageError(f"{given!r} is no task of VTAB-1k; name one, as vtab/cifar or vtab/cifar-{FINAL}.")
    place = need_folder(folder / task, hint)
    lists = ("".join(TUNING), None, "test") if dash else (*TUNING, "test")
    files = [need_file(place / f"{name}.txt", hint) if name else None for name in lists]
    splits = Splits(*(_listed(file, place, classes) if file else () for file in files))
    return Listing(_names(place / NAMES, classes), Files(place), splits)


def _listed(file: Path, place: Path, classes: int) -> tuple[Example, ...]:
    found = []
    for where, path, label in pairs(file, "a path", "a label", at_last_blank=True):
        if not label.isdecimal() or int(label) >= classes:
            raise VlpromptError(f"{where}: label {label!r}; labels go from 0 to {classes - 1}")
        found.append(Example(place / path, int(label)))
    if not found:
        raise VlpromptError(f"{file} lists no images")
    return tuple(found)


def _names(file: Path, classes: int) -> tuple[str, ...]:
    if not file.is_file():
        return tuple(f"class {label}" for label in range(classes))
    names = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    if len(names) != classes:
        raise VlpromptError(f"{file} names {len(names)} classes, the task has {classes}")
    return check_classes(names, str(file))
