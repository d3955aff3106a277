"""ImageNet-R split into images to learn from and to test on, as continual learning needs it; it comes as a test set.

Published numbers differ in which 80 % that is, so a name says it: "folders" (`train` and `test`, as the PyTorch ports
of L2P and DualPrompt leave them on the disk), "coda" (the lists of CODA-Prompt) and, without a name, our own: each
class by a seeded rule, since the split of L2P's own code hangs on the order that another package stores images in.
Labels follow the sorted folders in all three.
"""

from collections.abc import Mapping
from pathlib import Path

from vlprompt.data.images import Example, Files
from vlprompt.data.readers.imagenet import read_wnid_folders
from vlprompt.data.readers.listing import Listing, Splits, images_in, need_file, need_folder, split_groups, subfolders
from vlprompt.errors import UsageError, VlpromptError, unknown

WAYS = ("folders", "coda")
LISTS = "imagenet-r_{}.yaml"
TEST_SHARE = 0.2


def read_imagenet_r(folder: Path, images: Path, way: str = "", *, hint: str = "", split_seed: int = 0) -> Listing:
    """Read ImageNet-R in one of the ways above.

    Args:
        folder: The data set's folder; the lists of CODA-Prompt lie in it.
        images: Holds a folder for each class; or train and test, and a folder for each class in both.
        way: "", "folders" or "coda".
        hint: Where to get what is missing, for the error.
        split_seed: Of our own split.

    Raises:
        UsageError: No such way.
        VlpromptError: A file or folder is missing, or train and test do not go together.
    """
    if way not in ("", *WAYS):
        raise unknown("split of imagenet_r_split", way, WAYS, "Or give none, for a split by a seeded rule.")
    need_folder(images, hint)
    if way == "folders":
        return _from_folders(folder, images, hint)
    if {"train", "test"} & set(subfolders(images)):
        raise UsageError(f"{images} is split into folders already; take imagenet_r_split/folders.")
    whole = read_wnid_folders(folder, images, hint=hint)
    if way == "coda":
        wnids = {wnid: label for label, wnid in enumerate(subfolders(images))}
        train, test = (_from_list(folder / LISTS.format(part), images, wnids, hint) for part in ("train", "test"))
        return Listing(whole.classes, whole.images, Splits(train, test=test))
    groups: dict[str, list[Path]] = {wnid: list(images_in(images / wnid)) for wnid in subfolders(images)}
    split = split_groups(groups, split_seed, test_share=TEST_SHARE, val_share=0)
    return Listing(whole.classes, whole.images, split)


def _from_folders(folder: Path, images: Path, hint: str) -> Listing:
    train, test = (read_wnid_folders(folder, need_folder(images / part, hint), hint=hint) for part in ("train", "test"))
    if odd := set(subfolders(images / "train")) ^ set(subfolders(images / "test")):
        raise VlpromptError(f"{images}: train and test hold different class folders, such as {min(odd)}")
    return Listing(train.classes, Files(images), Splits(train.splits.test, test=test.splits.test))


def _from_list(file: Path, images: Path, labels: Mapping[str, int], hint: str) -> tuple[Example, ...]:
    """The paths of a list, "- .../WNID/IMAGE" line by line under "data:"; what it says of labels is the folders' order.

    Raises:
        VlpromptError: It is missing, has no paths, or one of a class that is not there.
    """
    found = []
    for number, line in enumerate(need_file(file, hint).read_text(encoding="utf-8").splitlines(), start=1):
        path = Path(line.strip().removeprefix("- ").strip("'\""))
        if "/" not in line:
            continue
        if path.parent.name not in labels:
            raise VlpromptError(f"{file}, line {number}: {path.parent.name} is no class folder of {images}")
        found.append(Example(images / path.parent.name / path.name, labels[path.parent.name]))
    if not found:
        raise VlpromptError(f"{file} lists no images. {hint}".strip())
    return tuple(found)
