"""What is known of a data set before it is read: one TOML file each. Importing this module imports no torch."""

import tomllib
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from vlprompt.errors import UsageError, unknown


@dataclass(frozen=True)
class Descriptor:
    """The description of a data set, `datasets/<name>.toml`.

    Attributes:
        name: The name of its file, used on the command line.
        title: The name that its authors use.
        reader: A key of `catalog.READERS`.
        templates: Sentences for its class names; cloze templates where the examples are texts.
        classes: Number of classes; 0 where it differs between parts.
        sizes: Examples in each split, or in each domain, as published.
        licence: The licence as far as we know it.
        homepage: Its authors' page.
        source: Where to download it, and its split file.
        folder: Its folder under the data root.
        images: The image folder in it, "." for the folder itself.
        split: Its split file; for digits the one in `datasets/`, for bundled texts their folder there, for lists see
            `readers.domains.read_domain_lists`.
        domains: {name: folder} of each domain, where there are several.
        augment: Whether the crops and flips of published recipes keep the labels.
        metric: A metric of `Task.metric`.
        parts: What may follow the name and a slash, as in digits-c/noise; the reader interprets it.
        part: What does follow.
        own: Fields that a part has instead of the whole's, by the part's name up to a dash; it lists all parts.
        class_names: Class names by label, where the examples are texts.
        words: Label words of each class, where the examples are texts; "{choice1}" is the text's field choice1.
        rows: The layout of files of rows, see `readers.glue.Layout`.
        kind: "texts" or "images".
        hint: Where to download it, as a sentence for errors.
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
    augment: bool = True
    metric: str = "top1"
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


def names() -> list[str]:
    """The names of all data sets, sorted."""
    return sorted(entry.name[:-5] for entry in folder().iterdir() if entry.name.endswith(".toml"))


def describe(name: str) -> Descriptor:
    """The description of a data set, or of one of its parts ("digits-c/noise-5").

    Raises:
        UsageError: There is no such data set or part.
    """
    whole, _, part = name.partition("/")
    if whole not in names():
        raise unknown("data set", name, names(), "Your own images: Task.from_folder or Task.from_csv.")
    fields = tomllib.loads((folder() / f"{whole}.toml").read_text(encoding="utf-8"))
    own = fields.get("own", {})
    descriptor = Descriptor(name=whole, part=part, **{**fields, **own.get(part.partition("-")[0], {})})
    if part and not descriptor.parts:
        raise UsageError(f"{whole} has no parts; {name!r} was given.")
    if part and own and part.partition("-")[0] not in own:
        raise unknown(f"part of {whole}", part, descriptor.parts)
    return descriptor


def folder() -> Traversable:
    """The folder of all descriptions: `vlprompt/datasets` in a wheel, the repository's `datasets` in a checkout."""
    packed = files("vlprompt") / "datasets"
    return packed if packed.is_dir() else Path(__file__).parents[2] / "datasets"
