"""Templates are parsed into parts, and errors name the column of a fault."""

import pytest

from vlprompt.cloze.parts.template import Template, TemplatePart
from vlprompt.errors import UsageError


def test_parts_have_a_kind_and_a_column() -> None:
    assert Template("{text} It was {mask}.").parts == (
        TemplatePart("field", 1, "text"),
        TemplatePart("words", 8, "It was", spaced=True),
        TemplatePart("mask", 15, spaced=True),
        TemplatePart("words", 21, "."),
    )
    assert Template("{premise:whole}? {soft:3}{sep} {{{soft: it was }}}").parts == (
        TemplatePart("field", 1, "premise", whole=True),
        TemplatePart("words", 16, "?"),
        TemplatePart("soft", 18, count=3, spaced=True),
        TemplatePart("sep", 26),
        TemplatePart("words", 32, "{", spaced=True),
        TemplatePart("soft", 34, "it was"),
        TemplatePart("words", 49, "}"),
    )


def test_fields_and_blanks_are_counted() -> None:
    template = Template("{premise} ? {mask} , {hypothesis}")
    assert template.fields == ("premise", "hypothesis")
    assert template.blanks == 1
    assert template.check_blank() is template
    assert Template("no blank {text}").blanks == 0


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("{text} It was {mask", 15, "never closed"),
        ("{text} It} was {mask}", 10, "a } without its {"),
        ("{text} {} {mask}", 8, "{} is no slot"),
        ("{text} {1st} {mask}", 8, "{1st} is no slot"),
        ("{text:short} {mask}", 1, "the option 'whole' only; 'short'"),
        ("{text} {mask:2}", 8, "{mask} takes no option"),
        ("{soft} {text} {mask}", 1, "the number of soft tokens"),
        ("{text} {soft:0} {mask}", 8, "the number of soft tokens"),
        ("{text} {soft:" + "1" * 5000 + "} {mask}", 8, "soft tokens are too many"),
        ("{a}{sep}{b}{sep}{mask}", 12, "a second {sep}"),
    ],
)
def test_faults_are_reported_with_their_column(text: str, column: int, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Template(text)
    assert f"column {column}: " in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_blanks_and_no_blank_are_refused_with_the_column() -> None:
    with pytest.raises(UsageError, match=r"column 15: a second \{mask\}"):
        Template("{mask} {text} {mask}").check_blank()
    with pytest.raises(UsageError, match=r"column 14: no \{mask\}"):
        Template("{text} It was").check_blank()


def test_an_unknown_slot_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"column 8: unknown slot 'txet'; did you mean 'text'\?"):
        Template("{mask} {txet}").check_fields(["text", "label"])
