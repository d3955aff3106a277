"""Stanford Dogs: `train_list.mat` and `test_list.mat`, Matlab's, name images in a folder for each breed.

The training list is split by our seeded rule within each class, 90 % train and 10 % val, as Jia et al. (ECCV 2022) do.
"""

from pathlib import Path

from vlprompt.data.images import Example, Files
from vlprompt.data.readers.cub import VAL_SHARE
from vlprompt.data.readers.listing import Listing, Splits, check_classes, need_file, need_folder, split_groups
from vlprompt.data.readers.mat import read_mat
from vlprompt.data.readers.vpt import plain_name
from vlprompt.errors import VlpromptError


def read_stanford_dogs(folder: Path, images: Path, *, hint: str = "", split_seed: int = 0) -> Listing:
    """Read both lists; a breed's number, from 1 on, is its label plus one, and its folder names it.

    Raises:
        VlpromptError: A list is missing or damaged, or contradicts itself or the other.
    """
    need_folder(images, hint)
    names: dict[int, str] = {}
    train = _listed(need_file(folder / "train_list.mat", hint), names, hint)
    test = _listed(need_file(folder / "test_list.mat", hint), names, hint)
    if gaps := sorted(set(range(1, max(names, default=0) + 1)) - names.keys()):
        raise VlpromptError(f"{folder}: no image has the label {gaps[0]}; labels must count from 1 without gaps")
    classes = check_classes([plain_name(names[number]) for number in sorted(names)], str(folder))
    groups: dict[str, list[Path]] = {names[number]: [] for number in sorted(names)}
    for path, number in train:
        groups[names[number]].append(images / path)
    split = split_groups(groups, split_seed, test_share=0, val_share=VAL_SHARE)
    judged = tuple(Example(images / path, number - 1) for path, number in test)
    return Listing(classes, Files(images), Splits(split.train, split.val, judged))


def _listed(file: Path, names: dict[int, str], hint: str) -> list[tuple[str, int]]:
    """(path, number) of each image; the folders met on the way are collected in `names`."""
    found = read_mat(file, ("file_list", "labels"), hint)
    paths, numbers = ([each.item() for each in found[key].ravel()] for key in ("file_list", "labels"))
    if len(paths) != len(numbers) or not paths:
        raise VlpromptError(f"{file} lists {len(paths)} images and {len(numbers)} labels; get it again. {hint}".strip())
    for place, (path, number) in enumerate(zip(paths, numbers, strict=True)):
        if not isinstance(path, str) or "/" not in path or int(number) < 1:
            raise VlpromptError(f"{file}, entry {place}: expected BREED/IMAGE and a label from 1, found {path!r}")
        name = Path(path).parent.name
        if names.setdefault(int(number), name) != name:
            raise VlpromptError(f"{file}, entry {place}: label {number} is both {names[int(number)]!r} and {name!r}")
    return [(path, int(number)) for path, number in zip(paths, numbers, strict=True)]
