"""Settings from text."""

import pytest

from vlprompt.errors import UsageError
from vlprompt.learners import CoOpConfig, make_config
from vlprompt.settings import by_owner


def test_values_are_read_as_json_where_they_are_json() -> None:
    given = by_owner(["coop.n_ctx=4", "coop.words=a photo of a", "coop.class_specific=true", "train.lr=1e-3"])
    assert given == {
        "coop": {"n_ctx": 4, "words": "a photo of a", "class_specific": True},
        "train": {"lr": 1e-3},
    }


@pytest.mark.parametrize("text", ["n_ctx=4", "coop.n_ctx", "coop.=4", ".n_ctx=4", ""])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"OWNER\.NAME=VALUE"):
        by_owner([text])


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"n_ctx": "four"}, "n_ctx is 'four'; it must be a whole number"),
        ({"n_ctx": True}, "must be a whole number"),
        ({"position": "left"}, "'end' or 'middle' or 'front'"),
        ({"class_specific": 1}, "true or false"),
        ({"nctx": 4}, "did you mean 'n_ctx'"),
    ],
)
def test_a_configuration_takes_its_own_types_only(values: dict[str, object], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        make_config(CoOpConfig, values)
