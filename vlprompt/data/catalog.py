"""The data sets we know by name, each described by `datasets/<name>.toml`."""

import os
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from vlprompt.data.readers import (
    CIFAR10,
    CIFAR100,
    Layout,
    Listing,
    lama,
    read_ag_news,
    read_aircraft,
    read_cifar,
    read_core50,
    read_corrupted_digits,
    read_cub,
    read_digits,
    read_domain_folders,
    read_domain_lists,
    read_five_datasets,
    read_glue,
    read_imagenet,
    read_imagenet_r,
    read_lama,
    read_numbered_folders,
    read_split_file,
    read_sst2,
    read_stanford_dogs,
    read_texts,
    read_vpt_lists,
    read_vtab,
    read_wnid_folders,
)
from vlprompt.data.task import Task
from vlprompt.errors import UsageError, VlpromptError, unknown, warn


@dataclass(frozen=True)
class Descriptor:
    """What is known of a data set before it is read.

    Attributes:
        name: What the command line calls it; the name of its file.
        title: What its authors call it.
        reader: A key of READERS.
        templates: Sentences for its class names; of texts, cloze templates.
        classes: How many classes it has; 0 where that differs from part to part.
        sizes: Examples in each split, or in each domain, as published.
        licence: As far as we know it.
        homepage: Its authors' page.
        source: Where to get it, and its split file.
        folder: Its folder under the data root.
        images: The image folder in that, "." for the folder itself.
        split: Its split file; for digits, the one in `datasets/`, for texts that ship with us their folder there; for
            lists, see `readers.read_domain_lists`.
        domains: {name: folder} of each domain, where there are several.
        metric: "accuracy" or "class_mean".
        parts: What may follow its name and a slash, as in digits-c/noise; the reader knows what it means.
        part: What did follow.
        own: Fields of a part that are not those of the whole, by its name up to a dash; its names are all there are.
        class_names: Of texts: its classes by label.
        words: Of texts: label words of each class; "{choice1}" is what the text itself has in its field choice1.
        rows: Of texts in files of rows: see `readers.Layout`.
        kind: "texts", or "images".
    """

    name: str
    title: str
    reader: str
    templates: tuple[str, ...]
    classes: int
    sizes: dict[str, int]
    licence: str
    homepage: str
    source: str
    folder: str = ""
    images: str = "."
    split: str = ""
    domains: dict[str, str] = field(default_factory=dict)
    metric: str = "accuracy"
    parts: tuple[str, ...] = ()
    part: str = ""
    own: dict[str, dict[str, Any]] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    words: tuple[tuple[str, ...], ...] = ()
    rows: dict[str, Any] = field(default_factory=dict)
    kind: str = field(init=False, default="images")
    hint: str = field(init=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "templates", tuple(self.templates))
        object.__setattr__(self, "kind", "texts" if self.words or self.reader == "lama" else "images")
        object.__setattr__(self, "parts", tuple(self.own or self.parts))
        object.__setattr__(self, "hint", f"To get {self.title}, see {self.source}.")


Reader = Callable[[Descriptor, Path], Listing]
READERS: dict[str, Reader] = {
    "split_file": lambda d, place: read_split_file(place / d.split, place / d.images, hint=d.hint),
    "imagenet": lambda d, place: read_imagenet(place, place / d.images, hint=d.hint),
    "wnid_folders": lambda d, place: read_wnid_folders(place, place / d.images, hint=d.hint),
    "numbered_folders": lambda d, place: read_numbered_folders(place, place / d.images, hint=d.hint),
    "aircraft": lambda d, place: read_aircraft(place, place / d.images, hint=d.hint),
    "domain_folders": lambda d, place: read_domain_folders(place / d.images, d.domains, hint=d.hint),
    "domain_lists": lambda d, place: read_domain_lists(place, d.domains, d.split, d.images, hint=d.hint),
    "vtab": lambda d, place: read_vtab(place, d.part, d.classes, hint=d.hint),
    "vpt_lists": lambda d, place: read_vpt_lists(place, place / d.images, hint=d.hint),
    "cub": lambda d, place: read_cub(place, place / d.images, hint=d.hint),
    "stanford_dogs": lambda d, place: read_stanford_dogs(place, place / d.images, hint=d.hint),
    "cifar10": lambda d, place: read_cifar(place, CIFAR10, hint=d.hint),
    "cifar100": lambda d, place: read_cifar(place, CIFAR100, hint=d.hint),
    "imagenet_r": lambda d, place: read_imagenet_r(place, place / d.images, d.part, hint=d.hint),
    "core50": lambda d, place: read_core50(place / d.images, hint=d.hint),
    "five_datasets": lambda d, place: read_five_datasets(place, hint=d.hint),
    "sst2": lambda d, place: read_sst2(place, d.class_names, hint=d.hint),
    "ag_news": lambda d, place: read_ag_news(place, d.class_names, hint=d.hint),
    "glue": lambda d, place: read_glue(place, d.class_names, Layout(**d.rows), hint=d.hint),
    "lama": lambda d, place: read_lama(place, d.part, hint=d.hint),
    "texts": lambda d, _: read_texts(Path(str(_descriptors() / d.split)), classes=d.class_names),
    "digits": lambda d, _: read_digits(_descriptors() / d.split),
    "digits_c": lambda d, _: read_corrupted_digits(_descriptors() / d.split, d.part),
}


def names() -> list[str]:
    """The names of all data sets, sorted."""
    return sorted(entry.name[:-5] for entry in _descriptors().iterdir() if entry.name.endswith(".toml"))


def describe(name: str) -> Descriptor:
    """What is known of a data set, or of a part of one; raises UsageError for a name that is not in the catalogue."""
    whole, _, part = name.partition("/")
    if whole not in names():
        raise unknown("data set", name, names(), "Your own images: Task.from_folder or Task.from_csv.")
    text = (_descriptors() / f"{whole}.toml").read_text(encoding="utf-8")
    fields = tomllib.loads(text)
    own = fields.get("own", {})
    known = Descriptor(name=whole, part=part, **{**fields, **own.get(part.partition("-")[0], {})})
    if part and not known.parts:
        raise UsageError(f"{whole} has no parts; {name!r} was given.")
    if part and own and part.partition("-")[0] not in own:
        raise unknown(f"part of {whole}", part, known.parts)
    return known


def load_task(name: str, root: Path | str = "") -> Task:
    """Read a data set of the catalogue.

    Args:
        name: One of `names()`, perhaps with one of its parts: digits-c/noise-5.
        root: The folder that holds the data sets' folders, or the data set's own; "": $VLPROMPT_DATA, or else ./data.

    Raises:
        UsageError: No such name.
        VlpromptError: What is missing on the disk, and where to get it.
    """
    known = describe(name)
    place = _place(known, _root(root))
    listing = READERS[known.reader](known, place)
    words = known.words or (tuple((each,) for each in listing.classes) if known.kind == "texts" else ())
    task = Task.from_listing(listing, name, known.templates, known.metric, words)
    if differences := _differences(known, task):
        warn(f"{name}: {differences}; figures cannot be compared with published ones")
    return task


def relations(name: str, root: Path | str = "") -> list[str]:
    """The relations of LAMA, or of another data set of facts, that are on the disk.

    Raises:
        UsageError: No such data set, or one of another kind.
        VlpromptError: It is not there, or none of its relations is.
    """
    known = describe(name)
    if known.reader != "lama":
        facts = [each for each in names() if describe(each).reader == "lama"]
        raise unknown("data set of facts", name, facts)
    place = _place(known, _root(root))
    there = [part for part in lama.relations(place, hint=known.hint) if lama.place_of(place, part).is_dir()]
    if not there:
        raise VlpromptError(f"{place} has no folder of any relation. {known.hint}")
    return there


def _root(root: Path | str) -> Path:
    return Path(root or os.environ.get("VLPROMPT_DATA") or "data").expanduser()


def open_task(what: str, root: Path | str | None = None) -> Task:
    """A data set of the catalogue by name, or your own images by path: a folder of class folders, or a CSV file.

    Raises:
        UsageError: Neither a name nor a path that exists.
        VlpromptError: What is missing or wrong on the disk.
    """
    whole, slash, _ = what.partition("/")
    if whole in names() and (not slash or describe(whole).parts):
        return load_task(what, root or "")
    path = Path(what).expanduser()
    if path.is_dir():
        return Task.from_folder(path)
    if path.suffix == ".csv" or path.is_file():
        return Task.from_csv(path)
    raise unknown("data set", what, names(), "Or give a folder with a folder of images per class, or a CSV file.")


def open_domains(what: str, root: Path | str | None = None) -> Task:
    """A task of several domains: a data set of the catalogue by name, or the path of a folder of domain folders.

    Raises:
        UsageError: Neither a name nor a folder that exists.
        VlpromptError: What is missing or wrong on the disk.
    """
    if what in names():
        return load_task(what, root or "")
    if (path := Path(what).expanduser()).is_dir():
        return Task.from_domains(path)
    several = [name for name in names() if describe(name).domains]
    raise unknown("data set of several domains", what, several, "Or give a folder of domains with folders of classes.")


def open_texts(what: str, root: Path | str | None = None, **options: Any) -> Task:
    """Texts of the catalogue by name, or your own as `read_texts` takes them: a file, or a folder of files.

    Raises:
        UsageError: Neither a name nor a path that exists, a data set of images, or a path without a template.
        VlpromptError: What is missing or wrong on the disk.
    """
    texts = [name for name in names() if describe(name).kind == "texts"]
    if what.partition("/")[0] in texts:
        return load_task(what, root or "")
    if what in names() or not Path(what).expanduser().exists():
        raise unknown("data set of texts", what, texts, "Or give a .csv, .tsv or .jsonl file, or a folder of such.")
    if not options.get("template"):
        raise UsageError(f"{what} needs a template with a column's name and a blank, as '{{text}} It was {{mask}}.'")
    return Task.from_texts(what, **options)


def _place(known: Descriptor, root: Path) -> Path:
    """The data set's own folder: below the root, or the root itself."""
    if not known.folder or (root / known.folder).is_dir():
        return root / known.folder
    if root.absolute().name == known.folder or (known.split and (root / known.split).is_file()):
        return root
    state = "it holds no such folder" if root.is_dir() else f"{root} is not there either"
    raise VlpromptError(f"missing folder {root / known.folder} ({state}). {known.hint}")


def _differences(known: Descriptor, task: Task) -> str:
    """How the sizes differ from the published ones; splits that are left out altogether do not count."""
    found = {"train": len(task.train), "val": len(task.val), "test": len(task.test)}
    numbers = Counter(example.domain for example in task.train + task.val + task.test)
    found |= {name: numbers[number] for number, name in enumerate(task.domains)}
    odd = [
        f"{split} has {found[split]} examples where {size} were published"
        for split, size in known.sizes.items()
        if found[split] not in (0, size)
    ]
    if known.classes and len(task.classes) != known.classes:
        odd.append(f"it has {len(task.classes)} classes where {known.classes} were published")
    return ", ".join(odd)


def _descriptors() -> Traversable:
    """`vlprompt/datasets` in a wheel, the repository's `datasets` in a checkout."""
    packed = files("vlprompt") / "datasets"
    return packed if packed.is_dir() else Path(__file__).parents[2] / "datasets"
