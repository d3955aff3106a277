"""vlprompt cache."""

from pathlib import Path

import pytest

from vlprompt import cli


def test_it_prints_the_size_and_clears(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["zero-shot", "--out", str(tmp_path), "--json"])
    capsys.readouterr()
    cli.main(["cache"])
    assert "1797" in capsys.readouterr().out
    cli.main(["cache", "--clear"])
    assert "1797" not in capsys.readouterr().out
