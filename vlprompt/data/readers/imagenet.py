"""ImageNet and its variants: folders named by WordNet id, and `classnames.txt` with "n01440764 tench" on each line.

Labels follow the sorted folders, and so do the examples. (The published code lists files in the order of the file
system, so its few-shot draws differ between machines; ours are the same everywhere.) Two pairs of ImageNet's published
class names are equal ("missile", "sunglasses"); they stay as they are.
"""

from pathlib import Path

from vlprompt.data.images import Example, Files
from vlprompt.data.readers.listing import DataError, Listing, Splits, contents, images_in, need_folder, subfolders
from vlprompt.data.readers.text_files import pairs


def read_imagenet(folder: Path, images: Path) -> Listing:
    """Read ImageNet: `images/train/<wnid>` for training, `images/val/<wnid>` for testing, no validation split."""
    names = read_classnames(folder)
    test_root, train_root = need_folder(images / "val"), images / "train"
    wnids = _wnids(test_root, names)
    train: tuple[Example, ...] = ()
    if train_root.is_dir():
        if _wnids(train_root, names) != wnids:
            raise DataError(f"{train_root} and {test_root} hold different class folders; they must be the same")
        train = _labelled(train_root, wnids)
    classes = tuple(names[wnid] for wnid in wnids)
    return Listing(classes, Files(images), Splits(train, test=_labelled(test_root, wnids)), test_name="val")


def read_wnid_folders(folder: Path, images: Path) -> Listing:
    """Read a test set of `<wnid>` folders, as ImageNet-Sketch, -A and -R; each folder is a class."""
    names = read_classnames(folder)
    wnids = _wnids(need_folder(images), names)
    return Listing(tuple(names[wnid] for wnid in wnids), Files(images), Splits(test=_labelled(images, wnids)))


def read_numbered_folders(folder: Path, images: Path) -> Listing:
    """Read a test set of folders 0, 1, 2, ..., as ImageNetV2: folder i is the i-th line of `classnames.txt`."""
    classes = tuple(read_classnames(folder).values())
    expected = [str(label) for label in range(len(classes))]
    if odd := sorted(set(subfolders(need_folder(images))).symmetric_difference(expected)):
        raise DataError(
            f"{images} should hold exactly the folders 0 to {len(classes) - 1}, one for each line of classnames.txt; "
            f"{len(odd)} are missing or too many, such as {odd[0]}"
        )
    return Listing(classes, Files(images), Splits(test=_labelled(images, expected)))


def read_classnames(folder: Path) -> dict[str, str]:
    """Class name by wnid, in the order of `classnames.txt`; a data set without one uses that of `../imagenet`."""
    file, shared = folder / "classnames.txt", folder.parent / "imagenet" / "classnames.txt"
    names: dict[str, str] = {}
    for where, wnid, name in pairs(shared if shared.is_file() and not file.is_file() else file, "a wnid", "a name"):
        if wnid in names:
            raise DataError(f"{where}: {wnid} is listed twice")
        names[wnid] = name
    return names


def _wnids(images: Path, names: dict[str, str]) -> list[str]:
    """The class folders, sorted; each must have a name."""
    wnids = subfolders(images)
    if not wnids:
        raise DataError(f"{images} should hold a folder for each class (n01440764, ...), found {contents(images)}")
    unnamed = [wnid for wnid in wnids if wnid not in names]
    if unnamed:
        raise DataError(f"{images} holds folders that classnames.txt does not name: {', '.join(unnamed[:5])}")
    return wnids


def _labelled(root: Path, folders: list[str]) -> tuple[Example, ...]:
    """All images of the folders, each labelled with its folder's position."""
    return tuple(Example(path, label) for label, name in enumerate(folders) for path in images_in(root / name))
