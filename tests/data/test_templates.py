"""Templates: one place for the name, and nothing else is touched."""

import pytest

from vlprompt.data.templates import IMAGENET_SELECT, OneName, Template, ensemble, readable
from vlprompt.errors import UsageError


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


def test_templates_in_settings_have_one_name_each() -> None:
    assert OneName().allows("a {}.")
    assert OneName().allows(("a {}.", "the {}."))
    assert OneName().allows(())
    assert not OneName().allows("")
    assert not OneName().allows(("a {}.", "a photo."))
    assert OneName(optional=True).allows("")
    assert not OneName(optional=True).allows("{} or {}")


def test_the_seven_of_imagenet() -> None:
    error = [template("cat") for template in ensemble(IMAGENET_SELECT)]
    assert len(set(error)) == 7
    assert error[0] == "itap of a cat."
    assert error[-1] == "a photo of the small cat."
