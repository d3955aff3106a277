"""A task: images or texts with class numbers, names of the classes, and templates for prompts with these names."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch

from vlprompt.data.arguments import check_name, name_of, path_of, strings_of, whole_number
from vlprompt.data.classes import class_names
from vlprompt.data.images import Example, Files, Images
from vlprompt.data.label_words import label_words
from vlprompt.data.overlap import checked
from vlprompt.data.readers.domains import read_domain_folders
from vlprompt.data.readers.folder import read_folder
from vlprompt.data.readers.image_datasets import read_dataset
from vlprompt.data.readers.listing import Listing
from vlprompt.data.readers.table import read_csv
from vlprompt.data.readers.text_datasets import read_text_dataset
from vlprompt.data.readers.texts import read_texts
from vlprompt.data.splits import SPLITS, draw_few_shot, short_classes, split_labels
from vlprompt.data.templates import DEFAULT_TEMPLATE, ensemble
from vlprompt.errors import UsageError, VlpromptError, unknown, warn

METRICS = ("top1", "class_mean")


@dataclass(frozen=True, repr=False)
class Task:
    """Examples of some classes, in splits for training, for choosing settings and for testing.

    Attributes:
        name: Its name in results.
        classes: Class names by label, as given; "_" becomes a space in a prompt.
        templates: Sentences with one "{}" for the class name; for texts, cloze templates ("{text} It was {mask}.").
        train: Training examples.
        val: Examples for choosing settings; may be empty.
        test: Examples that results are computed on.
        unlabelled: Examples without labels for methods that also learn from such examples.
        images: Opens the items of the examples.
        domains: Names by domain number, where there are several domains.
        metric: The main metric: "top1", or "class_mean" for the mean of the classes' accuracies.
        test_name: What the test split is: "test", "val" (ImageNet), "base" or "new", "all".
        words: Label words of each class, for texts only.
        dataset: The catalogue's name of the data, whose published settings apply; empty for other data.
        augment: Whether the crops and flips of published recipes keep the labels: not those of digits, texts or scans.
        source: The task with all examples that this one was derived from; a task that was read from data is its own.
    """

    name: str
    classes: tuple[str, ...]
    templates: tuple[str, ...] = (DEFAULT_TEMPLATE,)
    train: tuple[Example, ...] = ()
    val: tuple[Example, ...] = ()
    test: tuple[Example, ...] = ()
    unlabelled: tuple[Example, ...] = ()
    images: Images = field(default_factory=Files)
    domains: tuple[str, ...] = ()
    metric: str = "top1"
    test_name: str = "test"
    words: tuple[tuple[str, ...], ...] = ()
    dataset: str = ""
    augment: bool = False
    source: "Task | None" = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.source is None:
            object.__setattr__(self, "source", self)
        check_name(self.name)
        classes = class_names(self.classes)
        for field_name, value in (
            ("classes", classes),
            ("templates", strings_of(self.templates, "template")),
            ("words", label_words(self.words, classes)),
            *((split, _examples(split, getattr(self, split))) for split in (*SPLITS, "unlabelled")),
        ):
            object.__setattr__(self, field_name, value)  # the way of a frozen dataclass
        if not self.classes:
            raise UsageError(f"task {self.name!r} needs classes with names, got none")
        if self.words and len(self.words) != len(self.classes):
            given = f"{len(self.classes)} classes and label words for {len(self.words)}"
            raise UsageError(f"task {self.name!r} has {given}; give each class its words")
        if not self.words:  # cloze templates are checked by the methods that use them
            ensemble(self.templates)
        if self.metric not in METRICS:
            raise unknown("metric", self.metric, METRICS)
        for split in (*SPLITS, "unlabelled"):
            count = 0 if split == "unlabelled" else len(self.classes)
            _check(f"{split} of task {self.name!r}", getattr(self, split), count, max(len(self.domains), 1))

    @classmethod
    def from_folder(
        cls, path: Path | str, *, template: str | Sequence[str] = DEFAULT_TEMPLATE, name: str = "", split_seed: int = 0
    ) -> Self:
        """Your photos, a folder for each class, with or without train / val / test folders above.

        Class folders alone are split by a seed: of each class 30 % for test, 20 % for val, the rest for train.

        Raises:
            VlpromptError: No such folder, no class folders in it, or a class without images.
        """
        listing = checked(read_folder(path_of(path), split_seed=split_seed), str(path))
        return cls.from_listing(listing, name_of(path_of(path).resolve().name, name), template)

    @classmethod
    def from_domains(
        cls, path: Path | str, *, template: str | Sequence[str] = DEFAULT_TEMPLATE, name: str = "", split_seed: int = 0
    ) -> Self:
        """Your photos of several domains: a folder for each, and in it one for each class, or images without labels.

        Raises:
            VlpromptError: A domain has no images, or two differ in their classes.
        """
        listing = read_domain_folders(path_of(path), split_seed=split_seed)
        return cls.from_listing(listing, name_of(path_of(path).resolve().name, name), template)

    @classmethod
    def from_csv(
        cls, path: Path | str, *, template: str | Sequence[str] = DEFAULT_TEMPLATE, name: str = "", **options: Any
    ) -> Self:
        """A table with the columns path, label and, optionally, split; options as for `readers.table.read_csv`.

        Raises:
            VlpromptError: With the line that cannot be read.
        """
        listing = checked(read_csv(path_of(path), **options), str(path))
        return cls.from_listing(listing, name_of(path_of(path).stem, name), template)

    @classmethod
    def from_dataset(
        cls, train: Any, *, template: str | Sequence[str] = DEFAULT_TEMPLATE, name: str = "", **options: Any
    ) -> Self:
        """A torchvision or Hugging Face data set of (image, label); options as for `image_datasets.read_dataset`.

        Give `test=` (and `val=`) too, or the one data set is split as class folders are. Leave out `transform=`: the
        elements must be images.

        Raises:
            VlpromptError: Class names are missing, or a label has no class.
        """
        listing = checked(read_dataset(train, **options), "the data set")
        return cls.from_listing(listing, name or type(train).__name__.lower(), template)

    @classmethod
    def from_texts(
        cls,
        path: Path | str,
        *,
        template: str | Sequence[str],
        words: Any = (),
        name: str = "",
        **options: Any,
    ) -> Self:
        """A CSV, TSV or JSON-lines file of texts; options as for `readers.texts.read_texts`.

        Args:
            path: The file; or a folder with files called train, val (or dev) and test.
            template: A cloze such as "{text} It was {mask}.", its slots named as the columns.
            words: Label words of each class, in the order of the classes, or by class name; without them, the class
                names. See `label_words`.
            name: Its name in results.
            options: Of the reader.

        Raises:
            VlpromptError: With the line that cannot be read.
        """
        slots = re.findall(r"\{(\w+)", " ".join(strings_of(template, "template")))
        listing = checked(read_texts(path_of(path), slots=slots, **options), str(path))
        words = label_words(words, listing.classes) or listing.classes
        return cls.from_listing(listing, name_of(path_of(path).stem, name), template, words=words)

    @classmethod
    def from_text_dataset(
        cls,
        train: Any,
        *,
        template: str | Sequence[str],
        words: Any = (),
        name: str = "",
        **options: Any,
    ) -> Self:
        """A Hugging Face data set of texts, or a list of dictionaries; options as for `read_text_dataset`.

        Raises:
            VlpromptError: Class names are missing, or a row has no text or no class.
        """
        listing = checked(read_text_dataset(train, **options), "the data set")
        words = label_words(words, listing.classes) or listing.classes
        return cls.from_listing(listing, name or type(train).__name__.lower(), template, words=words)

    @classmethod
    def from_listing(
        cls,
        listing: Listing,
        name: str,
        template: str | Sequence[str] = DEFAULT_TEMPLATE,
        *,
        words: Any = (),
        **fields: Any,
    ) -> Self:
        """The contents of a data set with a name, templates, and other fields of the task."""
        return cls(
            name,
            listing.classes,
            listing.templates or strings_of(template, "template"),
            *listing.splits,
            listing.unlabelled,
            images=listing.images,
            test_name=listing.test_name,
            domains=listing.domains,
            words=words,
            **fields,
        )

    def few_shot(self, shots: int, seed: int) -> "Task":
        """CoOp's draw: `shots` examples of each class from train, then min(shots, 4) from val, test untouched.

        The same examples in the same order as Dassl.pytorch draws after `random.seed(seed)`
        (`dassl/data/datasets/base_dataset.py::generate_fewshot_dataset`). Classes with fewer examples are taken whole,
        with one warning.

        Raises:
            UsageError: Fewer than one shot, or training examples that are missing or unlabelled.
        """
        shots, seed = whole_number(shots, "shots"), whole_number(seed, "the seed")
        if shots < 1:
            raise UsageError(f"shots must be 1 or more, got {shots}; for none at all, run zero-shot on the task itself")
        labels = _labels(self.train)
        if not labels or -1 in labels:
            state = "unlabelled" if labels else "no"
            raise UsageError(f"task {self.name!r} has {state} training examples; few-shot draws need labelled ones")
        if short := short_classes(labels, shots):
            warn(
                f"{self.name}: {short} of {len(set(labels))} classes have fewer than {shots} training examples; "
                "all of them are used"
            )
        train, val = draw_few_shot(labels, _labels(self.val), shots, seed)
        return replace(self, train=tuple(self.train[i] for i in train), val=tuple(self.val[i] for i in val))

    def base_and_new(self) -> tuple["Task", "Task"]:
        """Two tasks on disjoint classes: the labels of train sorted, the first ceil(n / 2) are base, the rest new.

        Each has its own classes only, numbered from 0, in all splits (CoOp,
        `datasets/oxford_pets.py::subsample_classes`). The published order is to draw shots first, then to halve.

        Raises:
            UsageError: Train has fewer than two classes.
        """
        base, new = split_labels([label for label in _labels(self.train) if label >= 0])
        if not new:
            raise UsageError(f"task {self.name!r} has {len(base)} classes in train; base and new need at least 2")
        return self._half(base, "base"), self._half(new, "new")

    def _half(self, labels: Sequence[int], test_name: str) -> "Task":
        new = {label: number for number, label in enumerate(labels)}
        examples = {split: relabel(getattr(self, split), new) for split in SPLITS}
        return with_classes(self, labels, test_name=test_name, **examples)

    def whole(self) -> "Task":
        """The task with all its examples in test, for zero-shot results on all data."""
        return replace(self, train=(), val=(), test=self.train + self.val + self.test, test_name="all")

    @property
    def template(self) -> str:
        """The first template."""
        return self.templates[0]

    @cached_property
    def split_hash(self) -> str:
        """Sha256 of class names, and of names, labels and domains of all examples in order; not of their contents."""
        digest = hashlib.sha256(repr(self.classes).encode("utf-8", "surrogateescape"))
        for split in (*SPLITS, "unlabelled"):
            for example in getattr(self, split):
                line = f"\n{split}\t{self.images.name(example.item)}\t{example.label}"
                line += f"\t{self.domains[example.domain]}" if self.domains else ""
                digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def __repr__(self) -> str:
        sizes = f"{len(self.train)} train, {len(self.val)} val, {len(self.test)} {self.test_name}"
        return f"Task({self.name!r}, {len(self.classes)} classes, {sizes})"


def set_aside(task: Task, count: int, seed: int = 0) -> Task:
    """The task with `count` random training examples moved from train to unlabelled, without their labels.

    Raises:
        UsageError: `count` is not between 1 and one less than the number of training examples.
    """
    if not 0 < whole_number(count, "the number of examples") < len(task.train):
        raise UsageError(f"{task.name} has {len(task.train)} training examples; {count} of them cannot be set aside.")
    order = torch.randperm(len(task.train), generator=torch.Generator().manual_seed(seed)).tolist()
    moved = set(order[:count])
    unlabelled = tuple(replace(task.train[place], label=-1) for place in sorted(moved))
    train = tuple(example for place, example in enumerate(task.train) if place not in moved)
    return replace(task, train=train, unlabelled=task.unlabelled + unlabelled)


def with_classes(task: Task, labels: Sequence[int], **fields: Any) -> Task:
    """The task on the classes with these labels, in this order, with other fields changed too."""
    words = tuple(task.words[label] for label in labels) if task.words else ()
    return replace(task, classes=tuple(task.classes[label] for label in labels), words=words, **fields)


def relabel(examples: Iterable[Example], new: Mapping[int, int]) -> tuple[Example, ...]:
    """The examples whose label is a key of `new`, in their order, with their new labels."""
    return tuple(replace(example, label=new[example.label]) for example in examples if example.label in new)


def _labels(examples: Iterable[Example]) -> list[int]:
    return [example.label for example in examples]


def _examples(split: str, examples: Any) -> tuple[Example, ...]:
    """A split as a tuple; UsageError for what is no list of examples."""
    if isinstance(examples, tuple) and (not examples or isinstance(examples[0], Example)):
        return examples
    given = tuple(examples) if isinstance(examples, Iterable) and not isinstance(examples, str | Mapping) else (None,)
    if not all(isinstance(each, Example) for each in given):
        raise UsageError(
            f"{split} must be a list of `Example`; from paths or data sets, use Task.from_folder and others"
        )
    return given


def _check(where: str, examples: Sequence[Example], classes: int, domains: int) -> None:
    """Raise VlpromptError unless every label is -1 or the number of a class, and every domain is a domain's number."""
    for position, example in enumerate(examples):
        if type(example.label) is not int or type(example.domain) is not int:  # True is no label
            given = f"label {example.label!r} and domain {example.domain!r}"
            raise UsageError(f"example {position} in {where} has {given}; both must be whole numbers")
        if not -1 <= example.label < classes:
            allowed = f"there are {classes} classes, so labels go from 0 to {classes - 1} (-1: unknown)"
            raise VlpromptError(
                f"example {position} in {where} has label {example.label}; {allowed if classes else 'it must be -1'}"
            )
        if not 0 <= example.domain < domains:
            raise VlpromptError(f"example {position} in {where} has domain {example.domain}; there are {domains}")
