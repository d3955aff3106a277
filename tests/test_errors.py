"""Errors that a user can act on."""

import pytest

from vlprompt.errors import UsageError, VlpromptError, VlpromptWarning, out_of_memory, unknown, warn


def test_the_nearest_name_is_first_in_any_case() -> None:
    error = unknown("backbone", "vit-b-61", ["RN50", "ViT-B-16", "ViT-B-32", "ViT-S-32"], "Or a folder.")
    assert isinstance(error, UsageError)
    assert "unknown backbone 'vit-b-61'; did you mean 'ViT-B-16'? Known: ViT-B-16" in str(error)
    assert str(error).endswith("Or a folder.")
    assert "\n" not in str(error)


def test_a_long_list_is_cut_and_a_far_name_gets_no_guess() -> None:
    text = str(unknown("learner", "???", [f"name{i}" for i in range(40)]))
    assert "did you mean" not in text
    assert text.count("name") == 12
    assert "..." in text


def test_a_warning_is_a_vlprompt_warning() -> None:
    with pytest.warns(VlpromptWarning, match="careful"):
        warn("careful")


def test_only_out_of_memory_errors_become_advice() -> None:
    with (
        pytest.raises(VlpromptError, match="out of memory in training; lower batch_size"),
        out_of_memory("in training; lower batch_size"),
    ):
        raise RuntimeError("CUDA out of memory. Tried to allocate 20 MiB")
    with pytest.raises(RuntimeError, match="shapes"), out_of_memory("in training; lower batch_size"):
        raise RuntimeError("shapes differ")
