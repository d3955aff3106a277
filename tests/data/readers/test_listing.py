from pathlib import Path

import pytest

from vlprompt.data.readers.listing import check_classes, split_groups, what_is_there
from vlprompt.errors import VlpromptError, VlpromptWarning


def test_class_names_stay_as_given() -> None:
    assert check_classes(["black_cat", " dog"], "here") == ("black_cat", " dog")


def test_empty_and_equal_names() -> None:
    with pytest.raises(VlpromptError, match="here has no classes"):
        check_classes([], "here")
    with pytest.raises(VlpromptError, match="here: the name of class 1 is empty"):
        check_classes(["a", "_"], "here")
    with pytest.warns(VlpromptWarning, match=r"here: classes \[0, 2\] are all called 'a b'"):
        check_classes(["a_b", "c", "a b"], "here")


def test_labels_count_the_groups() -> None:
    splits = split_groups({"b": [Path(f"b{i}") for i in range(4)], "a": [Path("a0")]}, seed=0)
    assert [example.label for example in splits.train] == [0, 0, 0, 1]
    assert [example.label for example in splits.test] == [0]


def test_lists_what_is_there(tmp_path: Path) -> None:
    assert what_is_there(tmp_path) == "nothing"
    for name in "hgfedcba.":
        (tmp_path / f"{name}x").touch()
    assert what_is_there(tmp_path) == "ax, bx, cx, dx, ex, fx, ..."
