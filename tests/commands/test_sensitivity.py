"""vlprompt sensitivity."""

from collections.abc import Callable
from pathlib import Path

import pytest

from vlprompt import cli


def test_word_sets_must_have_words_for_every_class(
    tmp_path: Path, fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sensitivity", "--out", str(tmp_path), "--templates", "{text} it was {mask} ."]
    command += ["--word-sets", "bad good"]
    cli.main([*command, "cat dog"])
    assert "bad/good" in capsys.readouterr().out
    assert "'bad good fine' has words for 3 classes; they are negative, positive" in fails([*command, "bad good fine"])
