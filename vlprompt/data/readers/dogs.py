"""Stanford Dogs: `train_list.mat` and `test_list.mat`, in Matlab's format, list images in a folder for each breed.

The training list is split by a seed within each class, 90 % train and 10 % val, as in Jia et al. (ECCV 2022).
"""

from pathlib import Path

from vlprompt.data.classes import check_classes
from vlprompt.data.images import Example, Files
from vlprompt.data.readers.cub import VAL_SHARE
from vlprompt.data.readers.listing import DataError, LabelNames, Listing, Splits, need_folder, split_groups
from vlprompt.data.readers.mat import read_mat
from vlprompt.data.readers.vpt import plain_name


def read_stanford_dogs(folder: Path, images: Path, *, split_seed: int = 0) -> Listing:
    """Read both lists; a breed's number, counted from 1, is its label plus one, and its folder has its name."""
    need_folder(images)
    names = LabelNames()
    train, test = (_listed(folder / f"{split}_list.mat", names) for split in ("train", "test"))
    folders = names.in_order(str(folder), first=1)
    groups: dict[str, list[Path]] = {name: [] for name in folders}
    for path, number in train:
        groups[names[number]].append(images / path)
    split = split_groups(groups, split_seed, test_share=0, val_share=VAL_SHARE)
    examples = tuple(Example(images / path, number - 1) for path, number in test)
    classes = check_classes([plain_name(name) for name in folders], str(folder))
    return Listing(classes, Files(images), Splits(split.train, split.val, examples))


def _listed(file: Path, names: LabelNames) -> list[tuple[str, int]]:
    """(path, number) of each image; the folders are added to `names`."""
    arrays = read_mat(file, ("file_list", "labels"))
    paths, numbers = ([each.item() for each in arrays[key].ravel()] for key in ("file_list", "labels"))
    if len(paths) != len(numbers) or not paths:
        raise DataError(f"{file} lists {len(paths)} images and {len(numbers)} labels; get it again.")
    for place, (path, number) in enumerate(zip(paths, numbers, strict=True)):
        if not isinstance(path, str) or "/" not in path or not isinstance(number, int | float) or not 1 <= number < 1e6:
            raise DataError(f"{file}, entry {place}: expected BREED/IMAGE and a label from 1, found {path!r}")
        names.add(int(number), Path(path).parent.name, f"{file}, entry {place}")
    return [(path, int(number)) for path, number in zip(paths, numbers, strict=True)]
