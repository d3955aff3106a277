"""A folder for each class.

Either `root/<class>/*.jpg`, split by a seed (50 % train, 20 % val, 30 % test of each class, see
`splits.split_by_seed`), or `root/{train,val,test}/<class>/*.jpg`, used as it is. Of the latter any part may be missing:
without test, val is the test split; train alone is split by a seed. Images may be in subfolders of a class folder.
"""

from pathlib import Path

from vlprompt.data.classes import check_classes
from vlprompt.data.images import Example, Files
from vlprompt.data.readers.listing import Listing, Splits, contents, images_below, need_folder, split_groups, subfolders
from vlprompt.errors import VlpromptError

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}


def read_folder(root: Path, *, split_seed: int = 0) -> Listing:
    """Read class folders, with or without train / val / test above them.

    Raises:
        VlpromptError: The folder is missing, has no class folders, or a class has no images anywhere.
    """
    root = need_folder(Path(root).expanduser())
    folders = _split_folders(root)
    if not folders or set(folders) == {"train"}:
        return _unsplit(folders.get("train", root), root, split_seed)
    images = {split: _class_folders(folder) for split, folder in folders.items()}
    classes = sorted(set().union(*images.values()))
    _need_images(root, {name: [path for own in images.values() for path in own.get(name, ())] for name in classes})
    examples = {
        split: tuple(Example(path, label) for label, name in enumerate(classes) for path in own.get(name, ()))
        for split, own in images.items()
    }
    val, test, test_name = examples.get("val", ()), examples.get("test", ()), "test"
    if not test:
        val, test, test_name = (), val, "val"
    names = check_classes(classes, str(root))
    return Listing(names, Files(root), Splits(examples.get("train", ()), val, test), test_name)


def _unsplit(folder: Path, root: Path, split_seed: int) -> Listing:
    """Class folders without a split."""
    groups = _class_folders(folder)
    _need_images(folder, groups)
    return Listing(check_classes(list(groups), str(folder)), Files(root), split_groups(groups, split_seed))


def _split_folders(root: Path) -> dict[str, Path]:
    """The train, val and test folders that exist."""
    by_name = {name.lower(): root / name for name in subfolders(root)}
    first = {split: next((name for name in names if name in by_name), "") for split, names in SPLIT_NAMES.items()}
    return {split: by_name[name] for split, name in first.items() if name}


def _class_folders(folder: Path) -> dict[str, list[Path]]:
    """The images of each class folder, classes sorted by name."""
    groups = {name: images_below(folder / name) for name in subfolders(folder)}
    if not groups:
        expected = folder / "<class>" / "<image>"
        raise VlpromptError(f"{folder} has no class folders; expected {expected}, found {contents(folder)}")
    return groups


def _need_images(folder: Path, groups: dict[str, list[Path]]) -> None:
    for name, paths in groups.items():
        if not paths:
            raise VlpromptError(f"class {name!r} in {folder} has no images; add some, or remove the folder")
