import pytest

from vlprompt.data.classes import check_classes
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
