"""Fixtures for tests of commands: a cache of their own, small data, and errors as a user sees them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlprompt import cli

Fails = Callable[..., str]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLPROMPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("warnings.showwarning", None)  # main sets it; this restores it afterwards


@pytest.fixture
def quick() -> list[str]:
    """Options for a CoOp that is trained in a moment."""
    return ["--set", "train.epochs=2", "coop.n_ctx=2", "--augment", "none"]


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Fails:
    """Run a command that must fail with an exit code, and return its one line."""

    def run(arguments: list[str], code: int = 2) -> str:
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == code
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vlprompt: ")]
        lines = [line for line in lines if not line.startswith("vlprompt: warning")]
        assert len(lines) == 1, lines
        return lines[0]

    return run


@pytest.fixture
def twelve_digits(tmp_path: Path) -> Path:
    """A folder with six handwritten zeros and six ones."""
    from vlprompt import load_task

    task, folder = load_task("digits"), tmp_path / "photos"
    for label, name in enumerate(("zero", "one")):
        (folder / name).mkdir(parents=True)
        for example in [e for e in task.test if e.label == label][:6]:
            task.images.open(example.item).save(folder / name / f"{example.item}.png")
    return folder


@pytest.fixture
def reviews(tmp_path: Path, make_lm: Callable[..., Any]) -> list[str]:
    """Options for a file of made-up opinions and a tiny random BERT."""
    lm = make_lm("bert")
    lm.model.save_pretrained(tmp_path / "bert")
    lm.vocabulary.tokenizer.save_pretrained(tmp_path / "bert")
    rows = [
        {"text": f"the {noun} was {word} .", "label": label}
        for noun in ("film", "story", "actor", "music")
        for word, label in (("good", "yes"), ("bad", "no"), ("great", "yes"), ("dull", "no"))
    ]
    (tmp_path / "reviews.jsonl").write_text("\n".join(map(json.dumps, rows)))
    model = ["--backbone", f"local-dir:{tmp_path / 'bert'}", "--out", str(tmp_path / "runs")]
    return ["--task", str(tmp_path / "reviews.jsonl"), "--template", "{text} it was {mask} .", *model]
