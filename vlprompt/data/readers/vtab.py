"""VTAB-1k as lists: `train800.txt`, `val200.txt`, `train800val200.txt` and `test.txt` in each task's folder.

Settings are chosen with 800 training and 200 validation images; results are those of training on all 1,000 ("-final").
"""

from pathlib import Path

from vlprompt.data.classes import check_classes
from vlprompt.data.images import Example, Files
from vlprompt.data.readers.listing import DataError, Listing, Splits, need_folder
from vlprompt.data.readers.text_files import lines, pairs
from vlprompt.errors import UsageError

FINAL = "final"
TUNING = ("train800", "val200")


def read_vtab(folder: Path, part: str, classes: int) -> Listing:
    """Read one task's lists, lines of "PATH LABEL", paths from the task's folder.

    The lists have no class names: a `classnames.txt` in the task's folder, a line for each label, gives them if it
    exists, else they are "class 0", "class 1", ...

    Args:
        folder: Holds a folder for each task.
        part: A task ("caltech101"), with "-final" to train on all 1,000 images.
        classes: The task's number of classes.

    Raises:
        UsageError: `part` is not a task's name, with or without "-final".
        DataError: A list is missing or damaged.
    """
    task, dash, stage = part.partition("-")
    if not task or (dash and stage != FINAL):
        given = f"vtab/{part}" if part else "vtab"
        raise UsageError(f"{given!r} is no task of VTAB-1k; name one, as vtab/cifar or vtab/cifar-{FINAL}.")
    place = need_folder(folder / task)
    names = ("".join(TUNING), None, "test") if dash else (*TUNING, "test")
    splits = Splits(*(_listed(place / f"{name}.txt", classes) if name else () for name in names))
    return Listing(_class_names(place / "classnames.txt", classes), Files(place), splits)


def _listed(file: Path, classes: int) -> tuple[Example, ...]:
    examples = []
    for where, path, label in pairs(file, "a path", "a label", at_last_blank=True):
        if not label.isdecimal() or len(label) > 9 or int(label) >= classes:
            raise DataError(f"{where}: label {label!r}; labels go from 0 to {classes - 1}")
        examples.append(Example(file.parent / path, int(label)))
    if not examples:
        raise DataError(f"{file} lists no images")
    return tuple(examples)


def _class_names(file: Path, classes: int) -> tuple[str, ...]:
    if not file.is_file():
        return tuple(f"class {label}" for label in range(classes))
    names = [name for line in lines(file) if (name := line.strip())]
    if len(names) != classes:
        raise DataError(f"{file} names {len(names)} classes, the task has {classes}")
    return check_classes(names, str(file))
