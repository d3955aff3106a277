"""Changed inputs: every kind starts from an input that is read, a few changes of each end well, a crash is reported."""

import contextlib
import random
from pathlib import Path

import pytest

from benchmarks.fuzz import kinds, mutations
from benchmarks.fuzz.__main__ import fuzz, main


def unchanged(_: random.Random, content: object) -> object:
    return content


@pytest.mark.parametrize("name", kinds.KINDS)
def test_inputs_without_a_change_are_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for change in (
        "mutate_bytes",
        "mutate_json",
        "mutate_json_file",
        "mutate_json_lines",
        "mutate_text",
        "mutate_toml",
    ):
        monkeypatch.setattr(kinds, change, unchanged)
    monkeypatch.setattr(kinds._mutated, "__defaults__", (unchanged,))
    report = fuzz(kinds.KINDS[name], name, range(10))
    assert (report.tried, report.failed, report.refused) == (10, 0, 0)


@pytest.mark.parametrize("name", kinds.KINDS)
def test_a_few_changed_inputs_of_every_kind(name: str) -> None:
    report = fuzz(kinds.KINDS[name], name, range(15))
    assert not report.first


def test_a_crash_is_reported_with_its_seed(capsys: pytest.CaptureFixture[str]) -> None:
    def crash(rng: random.Random, _: Path) -> None:
        if rng.randrange(2):
            raise KeyError(mutations.mutate_text(rng, "a"))

    assert main(["--count", "50"], {"crash": crash}) == 1
    total, failure = capsys.readouterr().out.splitlines()[1:]
    tried, refused, failed = map(int, total.split()[1:4])
    assert (tried, refused) == (50, 0)
    assert 0 < failed < 50
    assert "KeyError in test_fuzz.py" in failure
    seed = failure.split()[3]
    assert main(["--count", "1", "--seed", seed], {"crash": crash}) == 1


def test_an_input_that_never_ends_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(_: random.Random, __: Path) -> None:
        while True:
            with contextlib.suppress(Exception):  # as decoders of images do
                while True:
                    pass

    monkeypatch.setattr("benchmarks.fuzz.__main__.LONGEST", 0.1)
    assert fuzz(endless, "endless", range(1)).failed == 1
