"""Data sets that are Python objects already: torchvision's, Hugging Face's, or a list of (image, label)."""

from collections.abc import Sequence
from typing import Any

from vlprompt.data.images import Example, Indexed, Item
from vlprompt.data.readers.listing import Listing, Splits, check_classes, split_groups
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
        train: Data set to train on; on its own it is split as class folders are.
        val: Data set to choose settings on.
        test: Data set to test on.
        classes: Class names by label; without them the data set's own (`classes`, or the label's `names`).
        image_field: Key of the image where elements are dictionaries.
        label_field: Key of the label where elements are dictionaries.
        split_seed: Seed of the split that is made where only `train` is given.

    Raises:
        UsageError: No class names were given and the data set has none.
        VlpromptError: A label that is not a number of a class.
    """
    names = check_classes(list(classes) or class_names(train, label_field), "the data set")
    images = Indexed(*(part for part in (train, val, test) if part is not None), field=image_field)
    parts: list[tuple[Example, ...]] = []
    start = 0
    for name, part in {"train": train, "val": val, "test": test}.items():
        labels = [] if part is None else _labels(part, label_field)
        for position, label in enumerate(labels):
            if not -1 <= label < len(names):
                raise VlpromptError(f"example {position} of {name} has label {label}; there are {len(names)} classes")
        parts.append(tuple(Example(start + position, label) for position, label in enumerate(labels)))
        start += len(labels)
    if val is not None or test is not None:
        return Listing(names, images, Splits(*parts))
    groups: dict[str, list[Item]] = {name: [] for name in names}
    for example in parts[0]:
        if example.label < 0:
            raise VlpromptError(f"example {example.item} has label -1; unlabelled examples cannot be split by class")
        groups[names[example.label]].append(example.item)
    return Listing(names, images, split_groups(groups, split_seed))


def class_names(dataset: Any, label_field: str) -> list[str]:
    """What the data set itself calls its classes."""
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
        found = dataset[label_field]
    else:
        found = next((labels for name in LABEL_ATTRIBUTES if (labels := _full(dataset, name)) is not None), None)
    if found is None:
        elements = (dataset[position] for position in range(len(dataset)))
        found = [element[label_field] if isinstance(element, dict) else element[1] for element in elements]
    return [int(label) for label in found]


def _full(dataset: Any, name: str) -> Any:
    """An attribute of labels, if it has one for every element."""
    labels = getattr(dataset, name, None)
    return labels if labels is not None and len(labels) == len(dataset) else None
