"""vlprompt demo."""

import re
from pathlib import Path

import pytest

from vlprompt import cli
from vlprompt.commands import demo


def test_it_prints_a_table_and_an_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "SHOTS", 1)
    monkeypatch.setattr("vlprompt.experiments.protocols.few_shot.run.__defaults__", ((1,), (1,), None))
    cli.main(["demo", "--out", str(tmp_path), "--seeds", "1"])
    out = capsys.readouterr().out
    assert re.search(r"zero-shot on all 1797 handwritten digits: 8\d\.\d %", out)
    assert re.search(r"it classifies\n  a test image of a \w+ as \w+ \(\d+ %\)", out)
    assert (tmp_path / "accuracy_by_shots.png").is_file()
