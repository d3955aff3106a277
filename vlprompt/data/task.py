"""A task: images or texts with class numbers, names for the classes, and words to say the names in."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch

from vlprompt.data.images import Example, Files, Images, Indexed
from vlprompt.data.readers import (
    Listing,
    read_csv,
    read_dataset,
    read_domain_folders,
    read_folder,
    read_text_dataset,
    read_texts,
)
from vlprompt.data.splits import draw_few_shot, relabel, short_classes, split_labels
from vlprompt.errors import UsageError, VlpromptError, unknown, warn

__all__ = ["Example", "Files", "Images", "Indexed", "Task", "base_and_new", "few_shot", "set_aside"]

TEMPLATE = "a photo of a {}."
METRICS = ("accuracy", "class_mean")


@dataclass(frozen=True, repr=False)
class Task:
    """Examples of some classes, to train on, to choose settings on and to test on.

    Attributes:
        name: What the results call it.
        classes: Class names by label, as given; "_" becomes a space when a prompt is made.
        templates: Sentences with one "{}" for the class name; of texts, cloze templates ("{text} It was {mask}.").
        train: Examples to learn from.
        val: Examples to choose settings on; may be empty.
        test: Examples that the figures are about.
        unlabelled: Examples to learn from besides, their labels not known (domain adaptation).
        images: What opens the items of the examples.
        domains: Names of the domains that the examples' domain numbers count, if there are several.
        metric: "accuracy", or "class_mean" for the mean of the classes' accuracies.
        words: Label words of each class, for texts only.
        test_name: What the test split is: "test", "val" (ImageNet), "base" or "new", "all".
    """

    name: str
    classes: tuple[str, ...]
    templates: tuple[str, ...] = (TEMPLATE,)
    train: tuple[Example, ...] = ()
    val: tuple[Example, ...] = ()
    test: tuple[Example, ...] = ()
    unlabelled: tuple[Example, ...] = ()
    images: Images = field(default_factory=Files)
    domains: tuple[str, ...] = ()
    metric: str = "accuracy"
    test_name: str = "test"
    words: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if not self.classes or any(not name.strip() for name in self.classes):
            raise VlpromptError(f"task {self.name!r} needs classes with names, got {list(self.classes)[:5]}")
        if not self.templates:
            raise UsageError(f"task {self.name!r} needs a template such as {TEMPLATE!r}")
        if self.words and len(self.words) != len(self.classes):
            given = f"{len(self.classes)} classes and label words for {len(self.words)}"
            raise UsageError(f"task {self.name!r} has {given}; give each class its words")
        for template in self.templates if not self.words else ():  # a cloze template is read where it is used
            if template.count("{}") != 1:
                raise UsageError(f"a template says the class name once, as in {TEMPLATE!r}; got {template!r}")
        if self.metric not in METRICS:
            raise unknown("metric", self.metric, METRICS)
        for split in ("train", "val", "test", "unlabelled"):
            where = f"{split} of task {self.name!r}"
            _check_labels(where, getattr(self, split), 0 if split == "unlabelled" else len(self.classes))
            _check_domains(where, getattr(self, split), max(len(self.domains), 1))

    @classmethod
    def from_folder(
        cls, path: Path | str, *, template: str | Sequence[str] = TEMPLATE, name: str = "", split_seed: int = 0
    ) -> Self:
        """Your photos, a folder for each class, with or without train / val / test folders above.

        Class folders alone are split by a seeded rule: of each class 30 % for test, 20 % for val, the rest for train.

        Raises:
            VlpromptError: No such folder, no class folders in it, or a class without images.
        """
        listing = read_folder(Path(path), split_seed=split_seed)
        return cls.from_listing(listing, name or Path(path).expanduser().resolve().name, template)

    @classmethod
    def from_domains(
        cls, path: Path | str, *, template: str | Sequence[str] = TEMPLATE, name: str = "", split_seed: int = 0
    ) -> Self:
        """Your photos of several domains: a folder for each, and in it one for each class, or images without labels.

        Raises:
            VlpromptError: A domain has no images, or two differ in their classes.
        """
        listing = read_domain_folders(Path(path).expanduser(), split_seed=split_seed)
        return cls.from_listing(listing, name or Path(path).expanduser().resolve().name, template)

    @classmethod
    def from_csv(
        cls, path: Path | str, *, template: str | Sequence[str] = TEMPLATE, name: str = "", **options: Any
    ) -> Self:
        """A table with the columns path, label and, if there is one, split; options as for `readers.read_csv`.

        Raises:
            VlpromptError: With the line that cannot be read.
        """
        return cls.from_listing(read_csv(Path(path), **options), name or Path(path).stem, template)

    @classmethod
    def from_dataset(
        cls, train: Any, *, template: str | Sequence[str] = TEMPLATE, name: str = "", **options: Any
    ) -> Self:
        """A torchvision or Hugging Face data set of (image, label); options as for `readers.read_dataset`.

        Give `test=` (and `val=`) too, or the one data set is split as class folders are. Leave out `transform=`: the
        images must still be images.

        Raises:
            VlpromptError: Class names are missing, or a label has no class.
        """
        return cls.from_listing(read_dataset(train, **options), name or type(train).__name__.lower(), template)

    @classmethod
    def from_texts(
        cls,
        path: Path | str,
        *,
        template: str | Sequence[str],
        words: Sequence[Sequence[str]] = (),
        name: str = "",
        **options: Any,
    ) -> Self:
        """A CSV, TSV or JSON-lines file of texts; options as for `readers.read_texts`.

        Args:
            path: The file; or a folder with files called train, val (or dev) and test.
            template: A cloze such as "{text} It was {mask}.", its slots named as the columns.
            words: Label words of each class, in the order of the classes; without them, the class names.
            name: What the results call it.
            options: Of the reader.

        Raises:
            VlpromptError: With the line that cannot be read.
        """
        listing = read_texts(Path(path), **options)
        words = words or [[each] for each in listing.classes]
        return cls.from_listing(listing, name or Path(path).stem, template, words=words)

    @classmethod
    def from_text_dataset(
        cls,
        train: Any,
        *,
        template: str | Sequence[str],
        words: Sequence[Sequence[str]] = (),
        name: str = "",
        **options: Any,
    ) -> Self:
        """A Hugging Face data set of texts, or a list of dictionaries; options as for `readers.read_text_dataset`.

        Raises:
            VlpromptError: Class names are missing, or a row has no text or no class.
        """
        listing = read_text_dataset(train, **options)
        words = words or [[each] for each in listing.classes]
        return cls.from_listing(listing, name or type(train).__name__.lower(), template, words=words)

    @classmethod
    def from_listing(
        cls,
        listing: Listing,
        name: str,
        template: str | Sequence[str] = TEMPLATE,
        metric: str = "accuracy",
        words: Sequence[Sequence[str]] = (),
    ) -> Self:
        """What a reader found, with a name and templates."""
        templates = listing.templates or ((template,) if isinstance(template, str) else tuple(template))
        return cls(
            name,
            listing.classes,
            templates,
            *listing.splits,
            listing.unlabelled,
            images=listing.images,
            metric=metric,
            test_name=listing.test_name,
            domains=listing.domains,
            words=tuple(tuple(own) for own in words),
        )

    def few_shot(self, shots: int, seed: int) -> "Task":
        """The task with `shots` examples of each class to learn from, by CoOp's draw."""
        return few_shot(self, shots, seed)

    def base_and_new(self) -> tuple["Task", "Task"]:
        """The task on the first half of its classes, and on the other half."""
        return base_and_new(self)

    def whole(self) -> "Task":
        """The task with every example it has in test: what zero-shot figures are about where nothing is trained."""
        return replace(self, train=(), val=(), test=self.train + self.val + self.test, test_name="all")

    @property
    def headline(self) -> str:
        """The metric that figures on this task are usually about, as results name it."""
        return "top1" if self.metric == "accuracy" else self.metric

    @cached_property
    def split_hash(self) -> str:
        """Sha256 of class names, and names, labels and domains of all examples in order; not of where the data lies."""
        digest = hashlib.sha256(repr(self.classes).encode("utf-8", "surrogateescape"))
        for split in ("train", "val", "test", "unlabelled"):
            for example in getattr(self, split):
                line = f"\n{split}\t{self.images.name(example.item)}\t{example.label}"
                line += f"\t{self.domains[example.domain]}" if self.domains else ""
                digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def __repr__(self) -> str:
        sizes = f"{len(self.train)} train, {len(self.val)} val, {len(self.test)} {self.test_name}"
        return f"Task({self.name!r}, {len(self.classes)} classes, {sizes})"


def few_shot(task: Task, shots: int, seed: int) -> Task:
    """CoOp's draw: `shots` examples of each class from train, then min(shots, 4) from val, test untouched.

    The same examples in the same order as Dassl.pytorch draws after `random.seed(seed)`
    (`dassl/data/datasets/base_dataset.py::generate_fewshot_dataset`). Classes with fewer examples are taken whole, with
    one warning.

    Raises:
        UsageError: Fewer than one shot, or nothing to draw from.
    """
    if shots < 1:
        raise UsageError(f"shots must be 1 or more, got {shots}; for none at all, run zero-shot on the task itself")
    labels = _labels(task.train)
    if not labels or -1 in labels:
        state = "unlabelled" if labels else "no"
        raise UsageError(f"task {task.name!r} has {state} training examples; few-shot draws need labelled ones")
    if short := short_classes(labels, shots):
        warn(
            f"{task.name}: {short} of {len(set(labels))} classes have fewer than {shots} training examples; "
            "all they have are used"
        )
    train, val = draw_few_shot(labels, _labels(task.val), shots, seed)
    return replace(task, train=tuple(task.train[i] for i in train), val=tuple(task.val[i] for i in val))


def set_aside(task: Task, count: int, seed: int = 0) -> Task:
    """The task with `count` of its training examples, drawn by a seed, as unlabelled ones: out of train, without label.

    Raises:
        UsageError: There are not more training examples than that.
    """
    if not 0 < count < len(task.train):
        raise UsageError(f"{task.name} has {len(task.train)} training examples; {count} of them cannot be set aside.")
    order = torch.randperm(len(task.train), generator=torch.Generator().manual_seed(seed)).tolist()
    aside = set(order[:count])
    unlabelled = tuple(replace(task.train[place], label=-1) for place in sorted(aside))
    train = tuple(example for place, example in enumerate(task.train) if place not in aside)
    return replace(task, train=train, unlabelled=task.unlabelled + unlabelled)


def base_and_new(task: Task) -> tuple[Task, Task]:
    """Two tasks on disjoint classes: the labels of train sorted, the first ceil(n / 2) are base, the rest new.

    Each keeps its own classes only, numbered from 0, in all splits (CoOp,
    `datasets/oxford_pets.py::subsample_classes`). Draw first, then halve: that is the published order.

    Raises:
        UsageError: Train has fewer than two classes.
    """
    base, new = split_labels([label for label in _labels(task.train) if label >= 0])
    if not new:
        raise UsageError(f"task {task.name!r} has {len(base)} classes in train; base and new need at least 2")
    return _with_labels(task, base, "base"), _with_labels(task, new, "new")


def _with_labels(task: Task, kept: Sequence[int], test_name: str) -> Task:
    """The task on some of its classes."""

    def of_these(examples: Sequence[Example]) -> tuple[Example, ...]:
        positions, labels = relabel(_labels(examples), kept)
        return tuple(replace(examples[i], label=label) for i, label in zip(positions, labels, strict=True))

    return replace(
        task,
        classes=tuple(task.classes[label] for label in kept),
        train=of_these(task.train),
        val=of_these(task.val),
        test=of_these(task.test),
        words=tuple(task.words[label] for label in kept) if task.words else (),
        test_name=test_name,
    )


def _labels(examples: Iterable[Example]) -> list[int]:
    return [example.label for example in examples]


def _check_labels(where: str, examples: Sequence[Example], classes: int) -> None:
    """Every label is the number of a class, or -1."""
    for position, example in enumerate(examples):
        if not -1 <= example.label < classes:
            allowed = f"there are {classes} classes, so labels go from 0 to {classes - 1} (-1: unknown)"
            raise VlpromptError(
                f"example {position} in {where} has label {example.label}; {allowed if classes else 'it must be -1'}"
            )


def _check_domains(where: str, examples: Sequence[Example], domains: int) -> None:
    """Every domain number is that of a domain."""
    for position, example in enumerate(examples):
        if not 0 <= example.domain < domains:
            raise VlpromptError(f"example {position} in {where} has domain {example.domain}; there are {domains}")
