"""vlprompt cloze demo."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vlprompt import cli
from vlprompt.data import catalog


def test_it_prints_tables_and_an_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = catalog.load_task

    def fewer(name: str) -> Any:
        task = whole(name)
        return replace(task, test=task.test[:40])

    monkeypatch.setattr(catalog, "load_task", fewer)
    cli.main(["cloze", "demo", "--out", str(tmp_path), "--seeds", "13"])
    out = capsys.readouterr().out
    assert "great/terrible" in out
    assert "prompt_oriented_fine_tuning" in out
    assert re.search(r"it classifies\n  'a brilliant story.*' as (positive|negative) \(\d+ %\)", out)
    assert (tmp_path / "results.jsonl").is_file()
