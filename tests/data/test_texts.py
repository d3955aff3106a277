"""Texts are items of tasks: drawn and hashed like images."""

from dataclasses import replace

import pytest

from vlprompt.data.images import Example
from vlprompt.data.task import Task
from vlprompt.data.texts import Text
from vlprompt.errors import UsageError


def task(shift: str = "") -> Task:
    rows = tuple(Example(Text.of(text=f"text {number}{shift}"), number % 2) for number in range(20))
    return Task("made", ("no", "yes"), ("{text} {mask}",), rows, rows[:6], rows[6:12], words=(("no",), ("yes", "sure")))


def test_a_text_is_a_mapping_with_its_content_as_json() -> None:
    text = Text.of(premise="it rained", hypothesis="w\u00e9t")
    assert dict(text) == {"premise": "it rained", "hypothesis": "w\u00e9t"}
    assert "other" not in text
    assert str(text) == '[["premise", "it rained"], ["hypothesis", "w\u00e9t"]]'
    assert len({text, Text.of(premise="it rained", hypothesis="w\u00e9t"), Text.of(premise="")}) == 2


def test_a_text_from_a_string_or_a_mapping() -> None:
    assert Text.from_item("it rained") == Text.of(text="it rained")
    assert Text.from_item("it rained", "premise") == Text.of(premise="it rained")
    assert Text.from_item({"a": "x", "b": "y"}, "premise") == Text.of(a="x", b="y")


def test_the_split_hash_covers_the_words_of_a_text() -> None:
    assert task().split_hash == task().split_hash
    assert task().split_hash != task(".").split_hash


def test_few_shot_and_halves_work_as_for_images() -> None:
    few = task().few_shot(3, seed=1)
    assert [example.label for example in few.train].count(1) == 3
    assert few.words == task().words
    base, new = task().base_and_new()
    assert (base.words, new.words) == ((("no",),), (("yes", "sure"),))


def test_words_must_be_given_for_each_class() -> None:
    with pytest.raises(UsageError, match="2 classes and label words for 1"):
        replace(task(), words=(("no",),))
