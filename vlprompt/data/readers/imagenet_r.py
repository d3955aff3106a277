"""ImageNet-R with a training and a test split, as continual learning needs them; it is published as a test set.

Published numbers differ in the 80 % used for training, so the data set's name states them: "folders" (`train` and
`test`, as the PyTorch ports of L2P and DualPrompt leave them on the disk), "coda" (the lists of CODA-Prompt) and,
without a name, our own: each class split by a seed, since the split of L2P's own code depends on the order in which
another package stores images. Labels follow the sorted folders in all three.
"""

from collections.abc import Mapping
from pathlib import Path

from vlprompt.data.images import Example, Files
from vlprompt.data.readers.imagenet import read_wnid_folders
from vlprompt.data.readers.listing import (
    DataError,
    Listing,
    Splits,
    images_in,
    need_file,
    need_folder,
    split_groups,
    subfolders,
)
from vlprompt.data.readers.text_files import lines
from vlprompt.errors import UsageError, unknown

KINDS = ("folders", "coda")
TEST_SHARE = 0.2


def read_imagenet_r(folder: Path, images: Path, kind: str = "", *, split_seed: int = 0) -> Listing:
    """Read ImageNet-R with one of the splits above.

    Args:
        folder: The data set's folder, with the lists of CODA-Prompt.
        images: Holds a folder for each class; or train and test, and a folder for each class in both.
        kind: "", "folders" or "coda".
        split_seed: Seed of our own split.

    Raises:
        UsageError: The kind of split is unknown.
        DataError: A file or folder is missing, or train and test have different classes.
    """
    if kind not in ("", *KINDS):
        raise unknown("split of imagenet_r_split", kind, KINDS, "Or give none, for a split by a seed.")
    need_folder(images)
    if kind == "folders":
        return _from_folders(folder, images)
    if {"train", "test"} & set(subfolders(images)):
        raise UsageError(f"{images} is split into folders already; use imagenet_r_split/folders.")
    whole = read_wnid_folders(folder, images)
    if kind == "coda":
        wnids = {wnid: label for label, wnid in enumerate(subfolders(images))}
        train, test = (_from_list(folder / f"imagenet-r_{part}.yaml", images, wnids) for part in ("train", "test"))
        return Listing(whole.classes, whole.images, Splits(train, test=test))
    groups: dict[str, list[Path]] = {wnid: list(images_in(images / wnid)) for wnid in subfolders(images)}
    split = split_groups(groups, split_seed, test_share=TEST_SHARE, val_share=0)
    return Listing(whole.classes, whole.images, split)


def _from_folders(folder: Path, images: Path) -> Listing:
    train, test = (read_wnid_folders(folder, need_folder(images / part)) for part in ("train", "test"))
    if odd := set(subfolders(images / "train")) ^ set(subfolders(images / "test")):
        raise DataError(f"{images}: train and test hold different class folders, such as {min(odd)}")
    return Listing(train.classes, Files(images), Splits(train.splits.test, test=test.splits.test))


def _from_list(file: Path, images: Path, labels: Mapping[str, int]) -> tuple[Example, ...]:
    """The images of a list, lines "- .../WNID/IMAGE" under "data:"; its labels follow the sorted folders too."""
    examples = []
    for number, line in enumerate(lines(need_file(file)), start=1):
        path = Path(line.strip().removeprefix("- ").strip("'\""))
        if "/" not in line:
            continue
        if path.parent.name not in labels:
            raise DataError(f"{file}, line {number}: {path.parent.name} is no class folder of {images}")
        examples.append(Example(images / path.parent.name / path.name, labels[path.parent.name]))
    if not examples:
        raise DataError(f"{file} lists no images.")
    return tuple(examples)
