"""A folder for each class.

Either `root/<class>/*.jpg`, split by a seed (50 % train, 20 % val, 30 % test of each class, see
`splits.split_by_seed`), or `root/{train,val,test}/<class>/*.jpg`, used as it is. Of the latter any part may be missing:
without test, val is the test split; train alone is split by a seed. Images may be in subfolders of a class folder.

A folder called train, val or test is a split where it holds class folders and only other splits have images beside it;
otherwise it is a class. A test folder of images without class folders, beside a split train, is unlabelled.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from vlprompt.data.classes import check_classes, in_order
from vlprompt.data.images import Example, Files, is_image_name
from vlprompt.data.readers.listing import (
    DataError,
    Listing,
    Splits,
    contents,
    need_folder,
    scan,
    split_groups,
    subfolders,
)
from vlprompt.data.readers.tree import Tree, read_tree, warn_of_skipped
from vlprompt.errors import VlpromptError, warn

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
Trees = Mapping[str, Tree]  # by class name


def read_folder(root: Path, *, split_seed: int = 0) -> Listing:
    """Read class folders, with or without train / val / test above them.

    Raises:
        VlpromptError: The folder is missing, has no class folders, or a class has no images anywhere.
    """
    root = need_folder(Path(root).expanduser())
    folders = _split_folders(root)
    if not folders:
        return _unsplit(root, root, split_seed)
    if set(folders) == {"train"}:
        return _unsplit(folders["train"], root, split_seed)
    unlabelled = read_tree(folders["test"]) if "test" in folders and not subfolders(folders["test"]) else Tree()
    trees = {split: {} if split == "test" and unlabelled.images else _trees(own) for split, own in folders.items()}
    groups = {name: [path for own in trees.values() if name in own for path in own[name].images]
              for name in in_order(set().union(*trees.values()))}  # fmt: skip
    _check_trees(root, [tree for own in trees.values() for tree in own.values()], groups)
    examples = {
        split: [Example(path, label) for label, name in enumerate(groups) if name in own for path in own[name].images]
        for split, own in trees.items()
    }
    if unlabelled.images:
        warn(f"{folders['test']} has no class folders; its {len(unlabelled.images)} images are unlabelled test images")
        examples["test"] = [Example(path, -1) for path in unlabelled.images]
    train, val, test = (tuple(examples.get(split, ())) for split in SPLIT_NAMES)
    splits = Splits(train, val, test) if test else Splits(train, (), val)
    return Listing(check_classes(list(groups), str(root)), Files(root), splits, "test" if test else "val")


def _unsplit(folder: Path, root: Path, split_seed: int) -> Listing:
    """Class folders without a split."""
    trees = _trees(folder)
    groups = {name: trees[name].images for name in in_order(trees)}
    _check_trees(folder, list(trees.values()), groups)
    return Listing(check_classes(list(groups), str(folder)), Files(root), split_groups(groups, split_seed))


def _split_folders(root: Path) -> dict[str, Path]:
    """The train, val and test folders; none where they are classes."""
    names = subfolders(root)
    found = {
        split: [name for spelling in own for name in names if name.lower() == spelling]
        for split, own in SPLIT_NAMES.items()
    }
    found = {split: own for split, own in found.items() if own}
    others = [name for name in names if not any(name in own for own in found.values())]
    if not any(subfolders(root / name) for own in found.values() for name in own):
        if found and not others:
            first = root / next(iter(found.values()))[0]
            raise VlpromptError(f"{first} has no class folders; expected {first / '<class>' / '<image>'}")
        return {}
    if any(read_tree(root / name).images for name in others):
        return {}
    if others:
        warn(f"{root}: left out because they hold no images and are not splits: {', '.join(others[:8])}")
    for split, own in found.items():
        if len(own) > 1:
            raise VlpromptError(f"{root} has several folders for {split}: {', '.join(own)}; leave one, or join them")
    return {split: root / own[0] for split, own in found.items()}


def _trees(folder: Path) -> dict[str, Tree]:
    """The images of each class folder; warn of images that are in none."""
    trees = {name: read_tree(folder / name) for name in subfolders(folder)}
    if not trees:
        expected = folder / "<class>" / "<image>"
        raise VlpromptError(f"{folder} has no class folders; expected {expected}, found {contents(folder)}")
    if loose := sum(is_image_name(entry.name) for entry in scan(folder)):
        warn(f"{folder}: {loose} images are in no class folder and are left out; move them into {folder / '<class>'}")
    return trees


def _check_trees(folder: Path, trees: list[Tree], groups: Mapping[str, list[Path]]) -> None:
    """Warn of files that are left out and of class folders that seem to be one level too high.

    Raises:
        DataError: A class has no images.
    """
    skipped = sum((tree.skipped for tree in trees), Counter[str]())
    if empty := next((name for name, paths in groups.items() if not paths), None):
        more = f" ({sum(skipped.values())} files of other kinds: {', '.join(sorted(skipped))})" if skipped else ""
        raise DataError(f"class {empty!r} in {folder} has no images{more}; add some, or remove the folder")
    warn_of_skipped(folder, skipped)
    inner = list(dict.fromkeys(name for tree in trees for name in tree.folders))
    deeper = not any(tree.direct for tree in trees)
    hint = f"its images are in the folders {', '.join(inner[:8])}; if these are the classes, give the folder above them"
    if len(groups) == 1:
        name = next(iter(groups))
        warn(
            f"{folder} has a single class, {name!r}; " + (hint if deeper else "a task needs two or more to choose from")
        )
    elif deeper:
        warn(f"{folder}: no class folder ({', '.join(list(groups)[:8])}) has images of its own; {hint}")
