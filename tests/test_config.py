"""Settings from text."""

import pytest

from vlprompt.config import by_owner, make_config
from vlprompt.errors import UsageError
from vlprompt.learners import CoOpConfig
from vlprompt.training.config import TrainConfig


def test_values_that_are_json_are_read_as_json() -> None:
    given = by_owner(["coop.n_ctx=4", "coop.words=a photo of a", "coop.class_specific=true", "train.lr=1e-3"])
    assert given == {
        "coop": {"n_ctx": 4, "words": "a photo of a", "class_specific": True},
        "train": {"lr": 1e-3},
    }


def test_the_owner_may_be_the_path_of_a_file() -> None:
    assert by_owner(["my/methods.py:Mine.shrink=0.5"]) == {"my/methods.py:Mine": {"shrink": 0.5}}


@pytest.mark.parametrize("text", ["n_ctx=4", "coop.n_ctx", "coop.=4", ".n_ctx=4", ""])
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"OWNER\.NAME=VALUE"):
        by_owner([text])


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"n_ctx": "four"}, "n_ctx is 'four'; it must be a whole number"),
        ({"n_ctx": True}, "must be a whole number"),
        ({"position": "left"}, "unknown CoOpConfig.position 'left'.*Known: front, middle, end"),
        ({"class_specific": 1}, "true or false"),
        ({"nctx": 4}, "did you mean 'n_ctx'"),
    ],
)
def test_a_value_of_another_type_is_refused(values: dict[str, object], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        make_config(CoOpConfig, values)


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5000, '"\\ud800"', "[1,", "{"])
def test_texts_that_no_parser_takes_stay_texts(text: str) -> None:
    assert by_owner([f"coop.words={text}"]) == {"coop": {"words": text}}


def test_whole_numbers_that_are_no_float_are_refused() -> None:
    for lr in (10**400, -(10**400)):
        with pytest.raises(UsageError, match=r"TrainConfig\.lr is -?1000.*it must be a number"):
            make_config(TrainConfig, {"lr": lr})
