"""Data sets of images that are Python objects: torchvision's, Hugging Face's, or a list of (image, label)."""

from collections.abc import Sequence
from typing import Any

from vlprompt.data.classes import check_classes
from vlprompt.data.images import Example, Indexed, Item
from vlprompt.data.readers.listing import Listing, Splits, split_groups
from vlprompt.data.splits import SPLITS
from vlprompt.errors import UsageError, VlpromptError

LABEL_ATTRIBUTES = ("targets", "labels", "_labels", "_image_files_labels")


def read_dataset(
    train: Any,
    *,
    val: Any = None,
    test: Any = None,
    classes: Sequence[str] = (),
    image_field: str = "image",
    label_field: str = "label",
    split_seed: int = 0,
) -> Listing:
    """Read data sets whose elements are (image, label) or {"image": ..., "label": ...}.

    Args:
        train: Training data; without val and test it is split as class folders are.
        val: Data for choosing settings.
        test: Test data.
        classes: Class names by label; without them the data set's own (`classes`, or the label's `names`).
        image_field: Key of the image where elements are dictionaries.
        label_field: Key of the label where elements are dictionaries.
        split_seed: Seed of the split where only `train` is given.

    Raises:
        UsageError: No class names were given and the data set has none.
        VlpromptError: A label is not a number of a class.
    """
    names = check_classes(list(classes) or class_names(train, label_field), "the data set")
    images = Indexed(*(part for part in (train, val, test) if part is not None), field=image_field)
    splits: list[tuple[Example, ...]] = []
    start = 0
    for split, part in zip(SPLITS, (train, val, test), strict=True):
        labels = [] if part is None else _labels(part, label_field)
        for position, label in enumerate(labels):
            if not -1 <= label < len(names):
                raise VlpromptError(f"example {position} of {split} has label {label}; there are {len(names)} classes")
        splits.append(tuple(Example(start + position, label) for position, label in enumerate(labels)))
        start += len(labels)
    if val is not None or test is not None:
        return Listing(names, images, Splits(*splits))
    groups: dict[str, list[Item]] = {name: [] for name in names}
    for example in splits[0]:
        if example.label < 0:
            raise VlpromptError(f"example {example.item} has label -1; unlabelled examples cannot be split by class")
        groups[names[example.label]].append(example.item)
    return Listing(names, images, split_groups(groups, split_seed))


def class_names(dataset: Any, label_field: str) -> list[str]:
    """The data set's own names of its classes; UsageError where it has none."""
    names = getattr(dataset, "classes", None)
    features = getattr(dataset, "features", None)
    if names is None and isinstance(features, dict):
        names = getattr(features.get(label_field), "names", None)
    if names is None:
        raise UsageError("the data set does not name its classes; pass classes=['cat', 'dog', ...] in label order")
    return [name[0] if isinstance(name, tuple) else str(name) for name in names]


def _labels(dataset: Any, label_field: str) -> list[int]:
    """All labels, without decoding images where the data set allows it."""
    if label_field in getattr(dataset, "column_names", ()):
        labels = dataset[label_field]
    else:
        attributes = (getattr(dataset, name, None) for name in LABEL_ATTRIBUTES)
        labels = next((each for each in attributes if each is not None and len(each) == len(dataset)), None)
    if labels is None:
        elements = (dataset[position] for position in range(len(dataset)))
        labels = [element[label_field] if isinstance(element, dict) else element[1] for element in elements]
    return [int(label) for label in labels]
