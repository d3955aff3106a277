"""A folder for each class.

Either `root/<class>/*.jpg`, split here by a seeded rule (50 % train, 20 % val, 30 % test of each class, see
`splits.split_by_seed`), or `root/{train,val,test}/<class>/*.jpg`, taken as it is. Of the latter any part may be
missing: without test, val is the test split; train alone is split by the rule. Images may lie deeper in a class folder.
"""

from pathlib import Path

from vlprompt.data.images import Example, Files
from vlprompt.data.readers.listing import (
    Listing,
    Splits,
    check_classes,
    images_below,
    need_folder,
    split_groups,
    subfolders,
    what_is_there,
)
from vlprompt.errors import VlpromptError

SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation", "dev"), "test": ("test", "testing")}


def read_folder(root: Path, *, split_seed: int = 0) -> Listing:
    """Read class folders, with or without train / val / test above them.

    Raises:
        VlpromptError: The folder is missing, holds no class folders, or a class has no images anywhere.
    """
    root = need_folder(Path(root).expanduser())
    parts = _split_folders(root)
    if not parts or set(parts) == {"train"}:
        return _one_folder(parts.get("train", root), root, split_seed)
    found = {part: _class_folders(folder) for part, folder in parts.items()}
    classes = sorted(set().union(*found.values()))
    for name in classes:
        if not any(found[part].get(name) for part in parts):
            raise _empty(root, name)
    examples = {
        part: tuple(Example(path, label) for label, name in enumerate(classes) for path in found[part].get(name, ()))
        for part in parts
    }
    val, test, test_name = examples.get("val", ()), examples.get("test", ()), "test"
    if not test:
        val, test, test_name = (), val, "val"
    names = check_classes(classes, str(root))
    return Listing(names, Files(root), Splits(examples.get("train", ()), val, test), test_name)


def _one_folder(folder: Path, root: Path, split_seed: int) -> Listing:
    """Class folders that we split ourselves."""
    groups = _class_folders(folder)
    for name, paths in groups.items():
        if not paths:
            raise _empty(folder, name)
    classes = check_classes(list(groups), str(folder))
    return Listing(classes, Files(root), split_groups(groups, split_seed))


def _split_folders(root: Path) -> dict[str, Path]:
    """The train, val and test folders that are there."""
    by_name = {name.lower(): root / name for name in subfolders(root)}
    found = {part: next((by_name[n] for n in names if n in by_name), None) for part, names in SPLITS.items()}
    return {part: folder for part, folder in found.items() if folder is not None}


def _class_folders(folder: Path) -> dict[str, list[Path]]:
    """The images of each class folder, classes sorted by name."""
    groups = {name: images_below(folder / name) for name in subfolders(folder)}
    if not groups:
        raise VlpromptError(
            f"{folder} holds no class folders; expected {folder / '<class>' / '<image>'}, found {what_is_there(folder)}"
        )
    return groups


def _empty(folder: Path, name: str) -> VlpromptError:
    return VlpromptError(f"class {name!r} in {folder} has no images; add some, or remove the folder")
