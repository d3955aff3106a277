"""One warning of all that is odd about the examples of a user's data set."""

import warnings
from pathlib import Path

import pytest

from vlprompt.data.images import Example, Files
from vlprompt.data.overlap import checked, shared_examples, warn_of_shared
from vlprompt.data.readers.listing import Listing, Splits
from vlprompt.errors import VlpromptWarning


def listing(train: dict[str, int], test: dict[str, int], classes: tuple[str, ...] = ("a", "b")) -> Listing:
    splits = [tuple(Example(Path(name), label) for name, label in part.items()) for part in (train, test)]
    return Listing(classes, Files(), Splits(splits[0], (), splits[1]))


def test_test_examples_in_train_are_counted() -> None:
    assert shared_examples(["1", "2", "3"], ["3", "3", "4"]) == 2
    assert shared_examples(iter(()), ["3"]) == 0
    with pytest.warns(VlpromptWarning, match="photos: 2 of 3 test examples are also in train"):
        warn_of_shared("photos", ["1", "2"], ["2", "1", "5"])


def test_one_warning_has_all_facts() -> None:
    with pytest.warns(VlpromptWarning) as caught:
        checked(listing({"1": 0, "2": 1}, {"2": 1}), "data")
    assert [str(each.message) for each in caught] == [
        "data: 1 of 2 classes have no test examples: a; 1 of 1 test examples are also in train"
    ]


def test_repeated_examples_are_counted() -> None:
    own = listing({"1": 0, "2": 1}, {"3": 0, "4": 1})
    with pytest.warns(VlpromptWarning, match="data: 2 examples repeat one of the same split"):
        checked(Listing(own.classes, own.images, own.splits._replace(train=own.splits.train * 2)), "data")


def test_ordinary_unlabelled_and_one_sided_data_pass() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checked(listing({"1": 0, "2": 1}, {"3": 0, "4": 1}), "data")
        checked(listing({"1": 0, "2": 1}, {"3": -1}), "data")
        checked(listing({}, {"3": 0, "4": 1}), "data")
