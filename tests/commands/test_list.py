"""vlprompt list."""

import json

import pytest

from vlprompt import cli, methods


def test_it_lists_methods_data_sets_and_protocols(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["list", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert {"digits", "caltech101", "imagenet_r"} <= found["data sets"].keys()
    assert {"few_shot", "base_to_new", "continual"} <= found["protocols"].keys()
    assert found["learners"].keys() == set(methods.names())
    assert "cocoop-paper" in found["learners"]["coop"][1]
    cli.main(["list"])
    out = capsys.readouterr().out
    assert all(name in out for name in ("digits", "coop-paper-csc", "few_shot"))


def test_settings_and_descriptions_equal_those_of_the_imported_methods(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["list", "--json"])
    for name, (about, settings) in json.loads(capsys.readouterr().out)["learners"].items():
        assert settings == list(methods.variants(name)), name
        assert len(about) > 10, name
