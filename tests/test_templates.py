"""Templates: one place for the name, and nothing else is touched."""

import pytest

from vlprompt.errors import UsageError
from vlprompt.templates import IMAGENET_SELECT, Template, ensemble, readable


def test_a_template_holds_the_name_once() -> None:
    assert Template("a photo of a {}.")("grey_owl") == "a photo of a grey owl."
    assert Template("{}")("St.") == "St."


@pytest.mark.parametrize("name", ["{}", "{0}", "100% {cat}", "{braces"])
def test_braces_in_a_name_are_only_text(name: str) -> None:
    assert Template("a {}.")(name) == f"a {name}."


@pytest.mark.parametrize("text", ["a photo", "{} or {}", "{0}", "{name}", "{ }", ""])
def test_a_template_without_one_place_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"must hold .* exactly once"):
        Template(text)


def test_other_braces_are_left_alone() -> None:
    assert Template("{a} {} {b}")("cat") == "{a} cat {b}"


def test_templates_are_values() -> None:
    assert Template("a {}") == Template("a {}")
    assert len({Template("a {}"), Template("a {}"), Template("the {}")}) == 2
    with pytest.raises(AttributeError):
        Template("a {}").text = "b {}"  # type: ignore[misc]


def test_readable() -> None:
    assert readable("Abyssinian_cat") == "Abyssinian cat"
    assert readable("F-16A/B") == "F-16A/B"


def test_ensembles() -> None:
    assert [template("cat") for template in ensemble(["a {}.", "the {}."])] == ["a cat.", "the cat."]
    with pytest.raises(UsageError, match="no template given"):
        ensemble([])
    with pytest.raises(UsageError, match=r"'a photo\.'"):
        ensemble(["a {}.", "a photo."])


def test_the_seven_of_imagenet() -> None:
    said = [template("cat") for template in ensemble(IMAGENET_SELECT)]
    assert len(set(said)) == 7
    assert said[0] == "itap of a cat."
    assert said[-1] == "a photo of the small cat."
