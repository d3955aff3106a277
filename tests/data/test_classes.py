import numpy as np
import pytest

from vlprompt.data.classes import check_classes, in_order
from vlprompt.errors import UsageError, VlpromptError, VlpromptWarning


def test_class_names_stay_as_given() -> None:
    assert check_classes(["black_cat", " dog"]) == ("black_cat", " dog")


def test_empty_names_are_an_error() -> None:
    with pytest.raises(UsageError, match="classes: expected a list of names for the classes, one or more"):
        check_classes([])
    with pytest.raises(UsageError, match=r"expected a list of names .* got 'cat'"):
        check_classes("cat")
    with pytest.raises(UsageError, match="classes: class 1 has an empty name"):
        check_classes(["a", "_"])


def test_errors_name_the_file_and_are_not_the_callers() -> None:
    with pytest.raises(VlpromptError, match=r"^names.txt: class 0 has an empty name") as caught:
        check_classes([" "], "names.txt")
    assert not isinstance(caught.value, UsageError)


def test_names_that_give_the_same_prompt_are_warned_about() -> None:
    with pytest.warns(VlpromptWarning, match=r"names.txt: class names appear more than once: a b \(classes 0, 2\)"):
        check_classes(["a_b", "c", "a b"], "names.txt")


@pytest.mark.parametrize(
    "pair",
    [("Cat", "cat"), ("hot  dog", "hot dog"), ("AT&amp;T", "AT&T"), ("ｃａｔ", "cat"), ("caf\u00e9", "cafe\u0301")],
)
def test_names_that_read_the_same_are_warned_about_with_their_spellings(pair: tuple[str, str]) -> None:
    with pytest.warns(VlpromptWarning, match=r"appear more than once: '.*' = '.*' \(classes 0, 2\)"):
        check_classes([pair[0], "dog", pair[1]])


def test_names_are_strings_or_numbers() -> None:
    assert check_classes(np.array(["a", "b"])) == ("a", "b")
    assert check_classes(name for name in ("a", "b")) == ("a", "b")
    assert check_classes([1, np.int64(2), 0.5]) == ("1", "2", "0.5")
    for wrong in (None, b"cat", {"a": 1}, 5, ["a", None], [["a"]], ["a", b"b"], [True], [float("nan")], ["\ud800"]):
        with pytest.raises(UsageError, match="classes: "):
            check_classes(wrong)  # type: ignore[arg-type]


def test_numbers_come_first_and_by_their_value() -> None:
    assert in_order(["b", "10", "9", "-1", "a", "1.5", "01"]) == ["-1", "01", "1.5", "9", "10", "a", "b"]
    assert in_order(["1" * 101, "2"]) == ["2", "1" * 101]
