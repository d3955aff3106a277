"""Errors that a user can act on."""

import copy
import warnings

import pytest

from vlprompt.errors import UsageError, VlpromptError, VlpromptWarning, out_of_memory, printable, unknown, warn


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


UNSAFE = {
    "\x1b[2Jcat": "\\x1b[2Jcat",
    "cat\nlabel: OK": "cat\\nlabel: OK",
    "a\x07b\x00": "a\\x07b\\x00",
    "\u202ecod.exe": "\\u202ecod.exe",
    "\ud800": "\\ud800",
    "one\u2028two\x85": "one\\u2028two\\x85",
}


@pytest.mark.parametrize("text", UNSAFE, ids=ascii)
def test_control_characters_are_escaped_everywhere(text: str) -> None:
    assert printable(text) == UNSAFE[text]
    assert printable(printable(text)) == UNSAFE[text]
    assert str(VlpromptError(f"no {text}")) == f"no {UNSAFE[text]}"
    assert str(copy.copy(UsageError(text))) == UNSAFE[text]
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        warn(text)
    assert str(found[0].message) == UNSAFE[text]


@pytest.mark.parametrize("text", ["a photo", "Straße", "猫 犬", "👩\u200d🚀", "می\u200cخواهم", "a\xa0b", "C:\\new"])
def test_ordinary_text_stays(text: str) -> None:
    assert printable(text) == text


def test_a_long_message_keeps_its_start_and_end() -> None:
    text = str(VlpromptError("given " + "x" * 10**6 + "; give another."))
    assert len(text) < 2001
    assert text.startswith("given xx")
    assert text.endswith("xx; give another.")


@pytest.mark.parametrize("given", [1, None, ["a"], {"a": 1}, "\ud800", "x" * 10**6])
def test_a_name_of_any_type_is_refused_in_one_line(given: object) -> None:
    assert str(unknown("learner", given, ["coop"])).startswith("unknown learner ")
