"""ImageNet and its variants: folders named by WordNet id, and `classnames.txt` with "n01440764 tench" on each line.

Labels follow the sorted folders, and so do the examples. (The published code lists files in whatever order the file
system gives, so its few-shot draws differ between machines; ours are the same everywhere.) Two pairs of ImageNet's
published class names are equal ("missile", "sunglasses"); they are taken as they are.
"""

from pathlib import Path

from vlprompt.data.images import Example, Files
from vlprompt.data.readers.listing import Listing, Splits, images_in, need_file, need_folder, subfolders, what_is_there
from vlprompt.errors import VlpromptError


def read_imagenet(folder: Path, images: Path, *, hint: str = "") -> Listing:
    """Read ImageNet: `images/train/<wnid>` to train on, `images/val/<wnid>` to test on, no validation split."""
    names = read_classnames(folder, hint)
    test_root, train_root = need_folder(images / "val", hint), images / "train"
    wnids = _wnids(test_root, names)
    train: tuple[Example, ...] = ()
    if train_root.is_dir():
        if _wnids(train_root, names) != wnids:
            raise VlpromptError(f"{train_root} and {test_root} hold different class folders; they must be the same")
        train = _labelled(train_root, wnids)
    classes = tuple(names[wnid] for wnid in wnids)
    return Listing(classes, Files(images), Splits(train, test=_labelled(test_root, wnids)), test_name="val")


def read_wnid_folders(folder: Path, images: Path, *, hint: str = "") -> Listing:
    """Read a test set of `<wnid>` folders, as ImageNet-Sketch, -A and -R: its classes are the folders there."""
    names = read_classnames(folder, hint)
    wnids = _wnids(need_folder(images, hint), names)
    return Listing(tuple(names[wnid] for wnid in wnids), Files(images), Splits(test=_labelled(images, wnids)))


def read_numbered_folders(folder: Path, images: Path, *, hint: str = "") -> Listing:
    """Read a test set of folders 0, 1, 2, ..., as ImageNetV2: folder i is the i-th line of `classnames.txt`."""
    classes = tuple(read_classnames(folder, hint).values())
    found = set(subfolders(need_folder(images, hint)))
    expected = [str(label) for label in range(len(classes))]
    if found != set(expected):
        odd = sorted(found.symmetric_difference(expected))
        raise VlpromptError(
            f"{images} should hold exactly the folders 0 to {len(classes) - 1}, one for each line of classnames.txt; "
            f"{len(odd)} are missing or too many, such as {odd[0]}"
        )
    return Listing(classes, Files(images), Splits(test=_labelled(images, expected)))


def read_classnames(folder: Path, hint: str = "") -> dict[str, str]:
    """Class name by wnid, in the order of `classnames.txt`; a data set without one shares that of `../imagenet`."""
    shared = folder.parent / "imagenet" / "classnames.txt"
    file = folder / "classnames.txt"
    file = shared if shared.is_file() and not file.is_file() else need_file(file, hint)
    names: dict[str, str] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        wnid, _, name = line.strip().partition(" ")
        if not wnid:
            continue
        if not name.strip() or wnid in names:
            raise VlpromptError(f"{file}, line {number}: expected a new wnid and a class name, found {line!r}")
        names[wnid] = name.strip()
    return names


def _wnids(images: Path, names: dict[str, str]) -> list[str]:
    """The class folders, sorted; each must have a name."""
    wnids = subfolders(images)
    if not wnids:
        found = what_is_there(images)
        raise VlpromptError(f"{images} should hold a folder for each class (n01440764, ...), found {found}")
    nameless = [wnid for wnid in wnids if wnid not in names]
    if nameless:
        raise VlpromptError(f"{images} holds folders that classnames.txt does not name: {', '.join(nameless[:5])}")
    return wnids


def _labelled(root: Path, folders: list[str]) -> tuple[Example, ...]:
    """All images of the folders, each labelled with its folder's position."""
    return tuple(Example(path, label) for label, name in enumerate(folders) for path in images_in(root / name))
