"""Data sets of images that are Python objects: torchvision's, Hugging Face's, or a list of (image, label)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vlprompt.data.classes import check_classes, class_names
from vlprompt.data.images import Example, Indexed, Item
from vlprompt.data.readers.labels import label_number
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
    train, val, test = (_sized(part, split) for part, split in zip((train, val, test), SPLITS, strict=True))
    names = check_classes(
        class_names(() if classes is None else classes) or own_classes(train, label_field), "the data set"
    )
    images = Indexed(*(part for part in (train, val, test) if part is not None), field=image_field)
    splits: list[tuple[Example, ...]] = []
    start = 0
    for split, part in zip(SPLITS, (train, val, test), strict=True):
        own = [] if part is None else _labels(part, label_field, split)
        labels = [_number(label, names, f"example {place} of {split}") for place, label in enumerate(own)]
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


def own_classes(dataset: Any, label_field: str) -> list[str]:
    """The data set's own names of its classes; UsageError where it has none."""
    names = getattr(dataset, "classes", None)
    features = getattr(dataset, "features", None)
    if names is None and isinstance(features, dict):
        names = getattr(features.get(label_field), "names", None)
    if names is None:
        raise UsageError("the data set does not name its classes; pass classes=['cat', 'dog', ...] in label order")
    return [name[0] if isinstance(name, tuple) else str(name) for name in names]


def _sized(part: Any, split: str) -> Any:
    """A data set with a length and numbered elements, a generator as a list; UsageError for what is no data set."""
    if part is None and split != "train":
        return None
    if isinstance(part, Iterator):
        return list(part)
    if isinstance(part, str | bytes | Mapping) or not (hasattr(part, "__len__") and hasattr(part, "__getitem__")):
        kind = "None" if part is None else f"a {type(part).__name__}"
        raise UsageError(f"{split} must be a data set or a list of (image, label); got {kind}")
    return part


def _number(label: Any, names: Sequence[str], where: str) -> int:
    number = label_number(label, names, where)
    if number is None:
        raise VlpromptError(f"{where} has no label; give -1 where it is unknown")
    return number


def _labels(dataset: Any, label_field: str, split: str) -> list[Any]:
    """All labels, without decoding images where the data set allows it."""
    if label_field in getattr(dataset, "column_names", ()):
        return list(dataset[label_field])
    attributes = (getattr(dataset, name, None) for name in LABEL_ATTRIBUTES)
    labels = next((each for each in attributes if each is not None and len(each) == len(dataset)), None)
    if labels is not None:
        return list(labels)
    return [_label(dataset[place], label_field, f"example {place} of {split}") for place in range(len(dataset))]


def _label(element: Any, label_field: str, where: str) -> Any:
    """The label of one element; UsageError where it is no (image, label) and no dictionary with the field."""
    try:
        if isinstance(element, str | bytes):
            raise TypeError
        return element[label_field] if isinstance(element, Mapping) else element[1]
    except KeyError as error:
        listed = ", ".join(map(str, element))
        raise UsageError(f"{where} has no field {label_field!r}; its fields are: {listed}") from error
    except (TypeError, IndexError) as error:
        kind = type(element).__name__
        raise UsageError(
            f"{where} must be (image, label) or a dictionary with {label_field!r}; got a {kind}"
        ) from error
