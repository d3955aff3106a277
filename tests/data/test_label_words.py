"""Label words in every form that a user may give, and the forms that are refused."""

from typing import Any

import numpy as np
import pytest

import vlprompt as vp
from vlprompt.cloze import HardPromptConfig, PETConfig
from vlprompt.data.label_words import label_words
from vlprompt.errors import UsageError

WANTED = (("bad",), ("good",))


@pytest.mark.parametrize(
    "given",
    [
        ["bad", "good"],
        ("bad", ["good"]),
        [("bad",), {"good"}],
        np.array(["bad", "good"]),
        (word for word in ("bad", "good")),
        {"yes": "good", "no": ["bad"]},
    ],
)
def test_one_text_is_one_word_of_a_class(given: Any) -> None:
    assert label_words(given, ("no", "yes")) == WANTED


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("bad", "label words are 'bad'; give one text or a list of texts for each class"),
        (3, "label words are 3"),
        (b"bad", "label words are b'bad'"),
        ({"bad", "good"}, "label words are"),
        ([1, 2], "the label words of a class are 1"),
        ([None, "good"], "the label words of a class are None"),
        ([["bad", 2], ["good"]], "the label words of a class contain 2, which is no text"),
        ([b"bad", "good"], "the label words of a class are b'bad'"),
        ({"yess": "good", "no": "bad"}, "unknown class of label words 'yess'; did you mean 'yes'"),
        ({"yes": "good"}, "no entry for the classes no"),
    ],
)
def test_everything_else_is_refused_in_one_line(given: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        label_words(given, ("no", "yes"))
    assert "\n" not in str(caught.value)


def test_tasks_and_configs_take_the_same_forms() -> None:
    rows = [
        {"text": f"it was {word} {number} times", "label": label}
        for number in range(4)
        for word, label in (("bad", "no"), ("good", "yes"))
    ]
    table = [{**row, "label": int(row["label"] == "yes")} for row in rows]
    for words in (["bad", "good"], {"yes": "good", "no": "bad"}):
        task = vp.Task.from_text_dataset(table, template="{text} {mask}", words=words, classes=["no", "yes"])
        assert task.words == WANTED
    assert vp.Task.from_text_dataset(table, template="{text} {mask}", words=None, classes=["no", "yes"]).words == (
        ("no",),
        ("yes",),
    )
    with pytest.raises(UsageError, match="2 classes and label words for 3"):
        vp.Task.from_text_dataset(table, template="{text} {mask}", words=["a", "b", "c"], classes=["no", "yes"])
    assert HardPromptConfig(words=["bad", "good"]).words == WANTED
    assert HardPromptConfig(words=None).words == ()  # type: ignore[arg-type]
    assert PETConfig(patterns="{text} {mask}").patterns == ("{text} {mask}",)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no classes are known here"):
        HardPromptConfig(words={"yes": "good"})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"HardPromptConfig.template is \['{text} {mask}'\]; it must be text"):
        HardPromptConfig(template=["{text} {mask}"])  # type: ignore[arg-type]
