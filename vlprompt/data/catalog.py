"""Open data sets: those of the catalogue by name (`datasets/<name>.toml`), or your own by path."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlprompt.data import descriptors
from vlprompt.data.arguments import path_of
from vlprompt.data.descriptors import Descriptor, describe, names
from vlprompt.data.images import as_stored
from vlprompt.data.readers import (
    ag_news,
    aircraft,
    cifar,
    core50,
    cub,
    digits,
    digits_c,
    dogs,
    domains,
    five,
    glue,
    imagenet,
    imagenet_r,
    lama,
    split_file,
    sst2,
    texts,
    vpt,
    vtab,
)
from vlprompt.data.readers.listing import DataError, Listing
from vlprompt.data.task import Task
from vlprompt.errors import UsageError, VlpromptError, unknown, warn

READERS: dict[str, Callable[[Descriptor, Path], Listing]] = {
    "split_file": lambda d, place: split_file.read_split_file(place / d.split, place / d.images),
    "imagenet": lambda d, place: imagenet.read_imagenet(place, place / d.images),
    "wnid_folders": lambda d, place: imagenet.read_wnid_folders(place, place / d.images),
    "numbered_folders": lambda d, place: imagenet.read_numbered_folders(place, place / d.images),
    "aircraft": lambda d, place: aircraft.read_aircraft(place, place / d.images),
    "domain_folders": lambda d, place: domains.read_domain_folders(place / d.images, d.domains),
    "domain_lists": lambda d, place: domains.read_domain_lists(place, d.domains, d.split, d.images),
    "vtab": lambda d, place: vtab.read_vtab(place, d.part, d.classes),
    "vpt_lists": lambda d, place: vpt.read_vpt_lists(place, place / d.images),
    "cub": lambda d, place: cub.read_cub(place, place / d.images),
    "stanford_dogs": lambda d, place: dogs.read_stanford_dogs(place, place / d.images),
    "cifar10": lambda _, place: cifar.read_cifar(place, cifar.CIFAR10),
    "cifar100": lambda _, place: cifar.read_cifar(place, cifar.CIFAR100),
    "imagenet_r": lambda d, place: imagenet_r.read_imagenet_r(place, place / d.images, d.part),
    "core50": lambda d, place: core50.read_core50(place / d.images),
    "five_datasets": lambda _, place: five.read_five_datasets(place),
    "sst2": lambda d, place: sst2.read_sst2(place, d.class_names),
    "ag_news": lambda d, place: ag_news.read_ag_news(place, d.class_names),
    "glue": lambda d, place: glue.read_glue(place, d.class_names, glue.Layout(**d.rows)),
    "lama": lambda d, place: lama.read_lama(place, d.part),
    "texts": lambda d, _: texts.read_texts(Path(str(descriptors.folder() / d.split)), classes=d.class_names),
    "digits": lambda d, _: digits.read_digits(descriptors.folder() / d.split),
    "digits_c": lambda d, _: digits_c.read_corrupted_digits(descriptors.folder() / d.split, d.part),
}


def load_task(name: str, root: Path | str = "") -> Task:
    """Read a data set of the catalogue.

    Args:
        name: One of `names()`, perhaps with one of its parts: digits-c/noise-5.
        root: The folder that holds the data sets' folders, or the data set's own; "": $VLPROMPT_DATA, or else ./data.

    Raises:
        UsageError: The name is unknown.
        VlpromptError: A file is missing or damaged, with the place to get it.
    """
    descriptor = describe(name)
    with _hint(descriptor):
        listing = READERS[descriptor.reader](descriptor, _place(descriptor, _root(root)))
    listing = replace(listing, images=as_stored(listing.images))  # published results are of images read so
    words = descriptor.words or (tuple((each,) for each in listing.classes) if descriptor.kind == "texts" else ())
    published = {"metric": descriptor.metric, "dataset": name, "augment": descriptor.augment}
    task = Task.from_listing(listing, name, descriptor.templates, words=words, **published)
    if differences := _differences(descriptor, task):
        warn(f"{name}: {differences}; results cannot be compared with published ones")
    return task


def relations(name: str, root: Path | str = "") -> list[str]:
    """The relations of LAMA, or of another data set of facts, that are on the disk.

    Raises:
        UsageError: The name is unknown, or is that of another kind of data set.
        VlpromptError: The data set or all of its relations are missing.
    """
    descriptor = describe(name)
    if descriptor.reader != "lama":
        raise unknown("data set of facts", name, [each for each in names() if describe(each).reader == "lama"])
    with _hint(descriptor):
        place = _place(descriptor, _root(root))
        complete = [part for part in lama.relations(place) if lama.relation_folder(place, part).is_dir()]
        if not complete:
            raise DataError(f"{place} has no folder of any relation.")
    return complete


def open_task(what: str, root: Path | str | None = None) -> Task:
    """A data set of the catalogue by name, or your own images by path: a folder of class folders, or a CSV file.

    Raises:
        UsageError: `what` is neither a name nor a path that exists.
        VlpromptError: A file is missing or damaged.
    """
    whole, slash, _ = what.partition("/")
    if whole in names() and (not slash or describe(whole).parts):
        return load_task(what, root or "")
    path = path_of(what)
    if path.is_dir():
        return Task.from_folder(path)
    if path.suffix.lower() in (".csv", ".tsv") or path.is_file():
        return Task.from_csv(path)
    raise _unknown("data set", what, names(), "Or give a folder with a folder of images per class, or a CSV file.")


def open_domains(what: str, root: Path | str | None = None) -> Task:
    """A task of several domains: a data set of the catalogue by name, or the path of a folder of domain folders.

    Raises:
        UsageError: `what` is neither a name nor a folder that exists.
        VlpromptError: A file is missing or damaged.
    """
    if what in names():
        return load_task(what, root or "")
    if (path := path_of(what)).is_dir():
        return Task.from_domains(path)
    several = [name for name in names() if describe(name).domains]
    raise _unknown("data set of several domains", what, several, "Or give a folder of domains with folders of classes.")


def open_texts(what: str, root: Path | str | None = None, **options: Any) -> Task:
    """Texts of the catalogue by name, or your own as `read_texts` takes them: a file, or a folder of files.

    Raises:
        UsageError: `what` is neither a name nor a path that exists, or is a data set of images, or a path without a
            template.
        VlpromptError: A file is missing or damaged.
    """
    text_names = [name for name in names() if describe(name).kind == "texts"]
    if what.partition("/")[0] in text_names:
        return load_task(what, root or "")
    if what in names() or not path_of(what).exists():
        raise _unknown(
            "data set of texts", what, text_names, "Or give a .csv, .tsv or .jsonl file, or a folder of such."
        )
    if not options.get("template"):
        raise UsageError(f"{what} needs a template with a column's name and a blank, as '{{text}} It was {{mask}}.'")
    return Task.from_texts(what, **options)


def _root(root: Path | str) -> Path:
    return path_of(root or os.environ.get("VLPROMPT_DATA") or "data")


@contextmanager
def _hint(descriptor: Descriptor) -> Iterator[None]:
    """Add to errors about the data where to get it."""
    try:
        yield
    except DataError as error:
        raise VlpromptError(f"{str(error).removesuffix('.')}. {descriptor.hint}") from error


def _unknown(kind: str, what: str, known: Iterable[str], hint: str) -> UsageError:
    """The error for what is no name on a list: a path that does not exist, or another name."""
    if what.startswith(("~", ".")) or "/" in what or os.sep in what:
        return UsageError(f"no such file or folder: {what}; nor is it a {kind} (`vlprompt list` prints their names)")
    return unknown(kind, what, known, hint)


def _place(descriptor: Descriptor, root: Path) -> Path:
    """The data set's own folder: below the root, or the root itself."""
    if not descriptor.folder or (root / descriptor.folder).is_dir():
        return root / descriptor.folder
    if root.absolute().name == descriptor.folder or (descriptor.split and (root / descriptor.split).is_file()):
        return root
    state = "it holds no such folder" if root.is_dir() else f"{root} is missing too"
    raise DataError(f"missing folder {root / descriptor.folder} ({state})")


def _differences(descriptor: Descriptor, task: Task) -> str:
    """How the sizes differ from the published ones; empty splits do not count."""
    sizes = {"train": len(task.train), "val": len(task.val), "test": len(task.test)}
    numbers = Counter(example.domain for example in task.train + task.val + task.test)
    sizes |= {name: numbers[number] for number, name in enumerate(task.domains)}
    odd = [
        f"{split} has {sizes[split]} examples where {size} were published"
        for split, size in descriptor.sizes.items()
        if sizes[split] not in (0, size)
    ]
    if descriptor.classes and len(task.classes) != descriptor.classes:
        odd.append(f"it has {len(task.classes)} classes where {descriptor.classes} were published")
    return ", ".join(odd)
