"""Several domains of the same classes: a folder for each, or lists of paths and labels.

Class names are the names of the class folders in lower case, as in Dassl.pytorch (`dassl/data/datasets/da/
office_home.py`). Data without a split is split by a seed within each class of each domain: 50 % train, 20 % val, 30 %
test, see `splits.split_by_seed`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vlprompt.data.classes import check_classes, class_names, in_order
from vlprompt.data.images import Example, Files
from vlprompt.data.readers.listing import (
    DataError,
    LabelNames,
    Listing,
    Splits,
    contents,
    images_below,
    images_in,
    need_folder,
    subfolders,
)
from vlprompt.data.readers.text_files import pairs
from vlprompt.data.splits import split_by_seed

Groups = Mapping[str, Sequence[Path]]  # the images of each class; of "" where they have no labels
Positions = tuple[list[int], ...]  # in train, val and test


def read_domain_folders(root: Path, domains: Mapping[str, str] | None = None, *, split_seed: int = 0) -> Listing:
    """Read `root/<domain>/<class>/<image>`; Office-31 has a folder `images` between domain and class.

    A domain with images and no class folders has no labels (-1). Case, spaces and underscores in the names of domain
    folders do not matter ("Real World" is "real_world").

    Args:
        root: Holds the domains.
        domains: {name: folder} of each; None: every folder, by its own name.
        split_seed: Seed of the split.

    Raises:
        DataError: A domain is missing, has no images or has other classes than the others.
    """
    folders = {_plain(name): name for name in class_names(subfolders(need_folder(root)), str(root))}
    images: dict[str, Groups] = {}
    for name, folder in (domains or {name: name for name in folders.values()}).items():
        images[name] = _class_folders(need_folder(root / folders.get(_plain(folder), folder)))
    return _listing(images, root, _split(images, split_seed))


def read_domain_lists(
    root: Path, domains: Mapping[str, str], lists: str, images: str = ".", *, split_seed: int = 0
) -> Listing:
    """Read lists of "path label"; the folder of an image has the name of its class.

    Args:
        root: The data set's folder.
        domains: {name: folder} of each domain.
        lists: A domain's list, with {domain} for its folder; with {part} too, there is one for train and one for test,
            else the one list is split.
        images: The folder that paths start from, with {domain} where it is the domain's own.
        split_seed: Seed of the split, where there is none.

    Raises:
        DataError: A list is missing, has a line that is no path and label, or contradicts another about a class.
    """
    names = LabelNames()
    classes_of: dict[str, Groups] = {}
    published: dict[str, Positions] = {}
    for domain, folder in domains.items():
        parts = ("train", "test") if "{part}" in lists else ("",)
        files = [root / lists.format(domain=folder, part=part) for part in parts]
        groups = [_listed(file, root / images.format(domain=folder), names) for file in files]
        classes_of[domain] = {
            name: [path for each in groups for path in each.get(name, ())] for own in groups for name in own
        }
        for name, paths in classes_of[domain].items():
            middle = len(groups[0].get(name, ()))
            published[f"{domain}/{name}"] = list(range(middle)), [], list(range(middle, len(paths)))
    order = [names[label] for label in sorted(names)]
    if repeated := sorted({name for name in order if order.count(name) > 1}):
        raise DataError(f"{root}: the lists give class {repeated[0]!r} two labels; each class needs one of its own")
    return _listing(classes_of, root, published if "{part}" in lists else _split(classes_of, split_seed), order)


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace(" ", "").replace("-", "")


def _class_folders(folder: Path) -> dict[str, list[Path]]:
    """The images of each class by its name; under "" where there are images and no class folders."""
    names = list(class_names(subfolders(folder), str(folder)))
    if names == ["images"]:
        return _class_folders(folder / "images")
    if not names and (images := list(images_in(folder))):
        return {"": images}
    groups: dict[str, list[Path]] = {}
    for name in names:
        groups.setdefault(name.lower(), []).extend(images_below(folder / name))
    groups = {name: paths for name, paths in groups.items() if paths}
    if not groups:
        expected = folder / "<class>" / "<image>"
        raise DataError(f"domain folder {folder} has no images; expected {expected}, found {contents(folder)}")
    return groups


def _listed(file: Path, images: Path, names: LabelNames) -> dict[str, list[Path]]:
    """The images of each class in a list; their class names are added to `names`."""
    groups: dict[str, list[Path]] = {}
    for where, path, label in pairs(file, "CLASS/IMAGE", "a label", at_last_blank=True):
        name = Path(path).parent.name.lower()
        if not label.isdecimal() or len(label) > 9 or not name:
            raise DataError(f"{where}: expected CLASS/IMAGE and a label, found '{path} {label}'")
        names.add(int(label), name, where)
        groups.setdefault(name, []).append(images / path)
    if not groups:
        raise DataError(f"{file} lists no images")
    return groups


def _split(images: Mapping[str, Groups], seed: int) -> Mapping[str, Positions]:
    """Our split of every class of every domain, by "domain/class"."""
    return split_by_seed({f"{d}/{c}": paths for d, groups in images.items() for c, paths in groups.items()}, seed)


def _listing(
    images: Mapping[str, Groups], root: Path, split: Mapping[str, Positions], order: Sequence[str] = ()
) -> Listing:
    """Domains with their classes as a listing; classes in the given order, or sorted."""
    names = _common_classes(images, root)
    classes = tuple(order) or names
    label_of = {"": -1} | {name: label for label, name in enumerate(classes)}
    splits: tuple[list[Example], ...] = ([], [], [])
    for number, (domain, groups) in enumerate(images.items()):
        for name, paths in ((name, groups[name]) for name in in_order(groups)):
            for examples, positions in zip(splits, split[f"{domain}/{name}"], strict=True):
                examples += [Example(paths[position], label_of[name], number) for position in positions]
    return Listing(classes, Files(root), Splits(*map(tuple, splits)), domains=tuple(images))


def _common_classes(images: Mapping[str, Groups], root: Path) -> tuple[str, ...]:
    """The classes of all labelled domains; DataError where there is no such domain or two have different classes."""
    labelled = {domain: in_order(groups) for domain, groups in images.items() if "" not in groups}
    if not labelled:
        raise DataError(f"{root} has no domain with class folders; expected {root / '<domain>/<class>/<image>'}")
    first = next(iter(labelled))
    for domain, classes in labelled.items():
        if odd := sorted(set(classes).symmetric_difference(labelled[first])):
            owner, other = (domain, first) if odd[0] in classes else (first, domain)
            raise DataError(
                f"{root}: domains must have the same classes; {owner!r} has {odd[0]!r} and {other!r} has not"
                + (f" ({len(odd)} differ)" if len(odd) > 1 else "")
            )
    return check_classes(labelled[first], str(root))
