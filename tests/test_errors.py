"""The error for a wrong name."""

import pytest

from vlprompt.errors import UsageError, VlpromptWarning, unknown, warn


def test_the_nearest_name_comes_first_whatever_its_case() -> None:
    error = unknown("backbone", "vit-b-61", ["RN50", "ViT-B-16", "ViT-B-32", "ViT-S-32"], "Or a folder.")
    assert isinstance(error, UsageError)
    assert "unknown backbone 'vit-b-61'; did you mean 'ViT-B-16'? Known: ViT-B-16" in str(error)
    assert str(error).endswith("Or a folder.")
    assert "\n" not in str(error)


def test_a_long_list_is_cut_and_nothing_near_is_no_guess() -> None:
    text = str(unknown("learner", "???", [f"name{i}" for i in range(40)]))
    assert "did you mean" not in text
    assert text.count("name") == 12
    assert "..." in text


def test_a_warning_is_of_our_own_kind() -> None:
    with pytest.warns(VlpromptWarning, match="careful"):
        warn("careful")
