from collections.abc import Sequence
from typing import Any

import pytest
from PIL import Image

from vlprompt.data.readers.image_datasets import read_dataset
from vlprompt.errors import UsageError, VlpromptError

RED = Image.new("RGB", (2, 2), "red")


class Torchvision:
    """As torchvision's: `classes`, `targets`, elements (image, label)."""

    classes = ("cat", "dog")

    def __init__(self, labels: Sequence[int]) -> None:
        self.targets = list(labels)
        self.opened = 0

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, position: int) -> tuple[Image.Image, int]:
        self.opened += 1
        return RED, self.targets[position]


class HuggingFace:
    """As `datasets.Dataset`: columns, features with names, elements as dictionaries."""

    column_names = ("img", "kind")

    def __init__(self, labels: Sequence[int]) -> None:
        self.labels_read = labels
        kind = type("ClassLabel", (), {"names": ["cat", "dog"]})()
        self.features = {"img": None, "kind": kind}

    def __len__(self) -> int:
        return len(self.labels_read)

    def __getitem__(self, key: Any) -> Any:
        return list(self.labels_read) if key == "kind" else {"img": RED, "kind": self.labels_read[key]}


def test_torchvision_labels_are_read_without_opening_images() -> None:
    train, test = Torchvision([0, 1, 1]), Torchvision([1])
    listing = read_dataset(train, test=test)
    assert listing.classes == ("cat", "dog")
    assert [[(e.item, e.label) for e in part] for part in listing.splits] == [[(0, 0), (1, 1), (2, 1)], [], [(3, 1)]]
    assert train.opened == test.opened == 0
    listing.images.open(3)
    assert test.opened == 1


def test_hugging_face_columns() -> None:
    data = HuggingFace([0, 1] * 10)
    listing = read_dataset(data, image_field="img", label_field="kind")
    assert listing.classes == ("cat", "dog")
    assert [len(part) for part in listing.splits] == [10, 4, 6]
    assert listing.images.open(0).size == (2, 2)


def test_plain_lists_need_class_names() -> None:
    pairs = [(RED, 0), (RED, 1)]
    with pytest.raises(UsageError, match="does not name its classes; pass classes="):
        read_dataset(pairs)
    assert read_dataset(pairs, classes=["a", "b"], val=pairs).splits.val[1].label == 1


@pytest.mark.parametrize("label", [2, -2])
def test_labels_must_be_classes(label: int) -> None:
    with pytest.raises(VlpromptError, match=f"example 1 of test has label {label}; there are 2 classes"):
        read_dataset(Torchvision([0]), test=Torchvision([0, label]))


def test_unknown_labels_are_allowed_in_test_but_cannot_be_split() -> None:
    assert read_dataset(Torchvision([0]), test=Torchvision([-1])).splits.test[0].label == -1
    with pytest.raises(VlpromptError, match="label -1"):
        read_dataset(Torchvision([0, -1]))
