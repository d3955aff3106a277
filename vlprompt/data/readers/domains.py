"""Several domains of the same classes: a folder for each, or lists of paths and labels.

Class names are the names of the class folders in lower case, as Dassl.pytorch makes them
(`dassl/data/datasets/da/office_home.py`). Data without a split of its own is split by a seeded rule within each class
of each domain: 50 % train, 20 % val, 30 % test, see `splits.split_by_seed`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vlprompt.data.images import Example, Files
from vlprompt.data.readers.listing import (
    Listing,
    Splits,
    check_classes,
    images_below,
    images_in,
    need_file,
    need_folder,
    subfolders,
    what_is_there,
)
from vlprompt.data.splits import split_by_seed
from vlprompt.errors import VlpromptError

Groups = Mapping[str, Sequence[Path]]  # the images of each class
Parts = tuple[list[int], ...]  # positions in train, val and test


def read_domain_folders(
    root: Path, domains: Mapping[str, str] | None = None, *, hint: str = "", split_seed: int = 0
) -> Listing:
    """Read `root/<domain>/<class>/<image>`; a folder `images` in between is passed through (Office-31 comes with one).

    A domain with images and no class folders has no labels (-1). Case, spaces and underscores in the names of domain
    folders do not matter ("Real World" is "real_world").

    Args:
        root: Holds the domains.
        domains: {name: folder} of each; None: every folder that is there, by its own name.
        hint: Where to get what is missing, for the error.
        split_seed: Of the split.

    Raises:
        VlpromptError: A domain is missing, has no images or has other classes than the others.
    """
    there = {_plain(name): name for name in subfolders(need_folder(root, hint))}
    wanted = domains or {name: name for name in there.values()}
    found: dict[str, Groups] = {}
    for name, folder in wanted.items():
        place = need_folder(root / there.get(_plain(folder), folder), hint)
        found[name] = _class_folders(place)
    return _listing(found, root, _seeded(found, split_seed))


def read_domain_lists(
    root: Path, domains: Mapping[str, str], lists: str, images: str = ".", *, hint: str = "", split_seed: int = 0
) -> Listing:
    """Read lists of "path label"; an image's class is named by the folder it lies in.

    Args:
        root: The data set's folder.
        domains: {name: folder} of each domain.
        lists: Where a domain's lists are, with {domain} for its folder; with {part} too, there is one for train and
            one for test, else the one list is split.
        images: The folder that paths start from, with {domain} where it is the domain's own.
        hint: Where to get what is missing, for the error.
        split_seed: Of the split, where there is none.

    Raises:
        VlpromptError: A list is missing, has a line that is no path and label, or contradicts another about a class.
    """
    names: dict[int, str] = {}
    found: dict[str, Groups] = {}
    published: dict[str, Parts] = {}
    for name, folder in domains.items():
        own = []
        for part in ("train", "test") if "{part}" in lists else ("",):
            file = need_file(root / lists.format(domain=folder, part=part), hint)
            own.append(_listed(file, root / images.format(domain=folder), names))
        first, second = own[0], own[-1] if len(own) > 1 else {}
        found[name] = {each: [*first.get(each, ()), *second.get(each, ())] for each in first | second}
        for each, paths in found[name].items():
            middle = len(first.get(each, ()))
            published[f"{name}/{each}"] = list(range(middle)), [], list(range(middle, len(paths)))
    order = [names[label] for label in sorted(names)]
    if twice := sorted({name for name in order if order.count(name) > 1}):
        raise VlpromptError(f"{root}: the lists give class {twice[0]!r} two labels; each class needs one of its own")
    return _listing(found, root, published if "{part}" in lists else _seeded(found, split_seed), order)


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace(" ", "").replace("-", "")


def _class_folders(folder: Path) -> dict[str, list[Path]]:
    """The images of each class by its name; under "" where there are images and no class folders."""
    inside = subfolders(folder)
    if inside == ["images"]:
        return _class_folders(folder / "images")
    if not inside and (loose := list(images_in(folder))):
        return {"": loose}
    groups: dict[str, list[Path]] = {}
    for name in inside:
        groups.setdefault(name.lower(), []).extend(images_below(folder / name))
    groups = {name: paths for name, paths in groups.items() if paths}
    if not groups:
        raise VlpromptError(
            f"domain folder {folder} has no images; expected {folder / '<class>' / '<image>'}, found "
            f"{what_is_there(folder)}"
        )
    return groups


def _listed(file: Path, images: Path, names: dict[int, str]) -> dict[str, list[Path]]:
    """The images of each class in a list; the class names met on the way are collected in `names`."""
    groups: dict[str, list[Path]] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        path, _, label = line.strip().rpartition(" ")
        name = Path(path).parent.name.lower()
        if not line.strip():
            continue
        if not label.isdecimal() or not name:
            raise VlpromptError(f"{file}, line {number}: expected CLASS/IMAGE and a label, found {line!r}")
        if names.setdefault(int(label), name) != name:
            raise VlpromptError(f"{file}, line {number}: label {label} is both {names[int(label)]!r} and {name!r}")
        groups.setdefault(name, []).append(images / path)
    if not groups:
        raise VlpromptError(f"{file} lists no images")
    return groups


def _seeded(found: Mapping[str, Groups], seed: int) -> Mapping[str, Parts]:
    """Our split of every class of every domain, by "domain/class"."""
    return split_by_seed({f"{d}/{c}": paths for d, groups in found.items() for c, paths in groups.items()}, seed)


def _listing(found: Mapping[str, Groups], root: Path, split: Mapping[str, Parts], order: Sequence[str] = ()) -> Listing:
    """Domains with their classes as a listing; classes in the order given, or sorted."""
    names = _common_classes(found, root)
    classes = tuple(order) or names
    label_of = {"": -1} | {name: label for label, name in enumerate(classes)}
    parts: tuple[list[Example], ...] = ([], [], [])
    for number, (domain, groups) in enumerate(found.items()):
        for name, paths in sorted(groups.items()):
            for part, positions in zip(parts, split[f"{domain}/{name}"], strict=True):
                part += [Example(paths[position], label_of[name], number) for position in positions]
    return Listing(classes, Files(root), Splits(*map(tuple, parts)), domains=tuple(found))


def _common_classes(found: Mapping[str, Groups], root: Path) -> tuple[str, ...]:
    """The classes that all labelled domains have.

    Raises:
        VlpromptError: There is no labelled domain, or two differ in their classes.
    """
    labelled = {domain: sorted(groups) for domain, groups in found.items() if "" not in groups}
    if not labelled:
        raise VlpromptError(f"{root} has no domain with class folders; expected {root / '<domain>/<class>/<image>'}")
    first = next(iter(labelled))
    for domain, classes in labelled.items():
        if odd := sorted(set(classes).symmetric_difference(labelled[first])):
            owner, other = (domain, first) if odd[0] in classes else (first, domain)
            raise VlpromptError(
                f"{root}: domains must have the same classes; {owner!r} has {odd[0]!r} and {other!r} has not"
                + (f" ({len(odd)} differ)" if len(odd) > 1 else "")
            )
    return check_classes(labelled[first], str(root))
