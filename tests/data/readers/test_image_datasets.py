from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vlprompt.data.readers.image_datasets import read_dataset
from vlprompt.data.task import Task
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


IMAGE = Image.new("RGB", (4, 4))


def test_generators_are_read_once() -> None:
    task = Task.from_dataset(((IMAGE, n % 2) for n in range(8)), classes=np.array(["a", "b"]))
    assert sum(map(len, (task.train, task.val, task.test))) == 8
    assert task.images.open(7).size == (4, 4)


@pytest.mark.parametrize("label", [2, -2, True, 0.5, None, "cat", [0]])
def test_wrong_labels_are_refused(label: Any) -> None:
    with pytest.raises(VlpromptError, match=r"example 1 of train has (label|no label)"):
        Task.from_dataset([(IMAGE, 0), (IMAGE, label)], classes=["a", "b"])


@pytest.mark.parametrize("label", [1, np.int32(1), 1.0, torch.tensor(1), "b"])
def test_labels_of_any_library_are_read(label: Any) -> None:
    task = Task.from_dataset([(IMAGE, 0), (IMAGE, 1)], test=[(IMAGE, label), (IMAGE, 0)], classes=["a", "b"])
    assert [example.label for example in task.test] == [1, 0]


@pytest.mark.parametrize(
    "data", [None, "photos", b"x", 5, {"image": []}, [IMAGE], [(IMAGE,)], [{"image": IMAGE}], ["ab"]]
)
def test_what_is_no_data_set_is_refused(data: Any) -> None:
    with pytest.raises(VlpromptError, match=r"(must be|has no field|has label)"):
        Task.from_dataset(data, classes=["a", "b"])
