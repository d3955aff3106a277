"""Callbacks show the numbers of every epoch where a person or a program can read them, and nothing elsewhere."""

import io
import json
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vlprompt.errors import VlpromptError
from vlprompt.training import callbacks


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Recorder:
    """A stand-in for the objects of TensorBoard and W&B."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.seen: list[Any] = [(arguments, settings)] if arguments or settings else []

    def log(self, *arguments: Any, **values: Any) -> None:  # W&B
        self.seen.append((*arguments, values))

    def add_scalar(self, *arguments: Any) -> None:
        self.seen.append(arguments)

    def close(self) -> None:
        self.seen.append("closed")

    finish = close


def test_the_bar_shows_epochs_loss_and_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    bar = callbacks.ProgressBar(total=50, label="coop")
    bar.epoch(1, loss=1.23456, lr=0.002)
    bar.epoch(50, loss=0.5, lr=1e-5)
    bar.close()
    last = screen.getvalue().rsplit("\r", 1)[1]
    assert last.startswith("coop: 100%")
    assert "50/50" in last
    assert "loss=0.5, lr=1e-5" in last.replace("1e-05", "1e-5")


def test_a_second_training_restarts_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    bar = callbacks.ProgressBar(total=3)
    for step in (1, 2, 3, 1, 2):
        bar.epoch(step, loss=float(step))
    bar.close()
    assert "2/3" in screen.getvalue().rsplit("\r", 1)[1]


def test_nothing_is_drawn_where_stderr_is_not_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    bar = callbacks.ProgressBar(total=2)
    bar.epoch(1, loss=1.0)
    bar.epoch(1, loss=1.0)
    bar.close()
    assert list(callbacks.progress(range(3), "reading")) == [0, 1, 2]
    assert log.getvalue() == ""


def test_progress_gives_the_same_items_and_is_quiet_when_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    assert list(callbacks.progress((n * n for n in range(4)), "squares", total=4)) == [0, 1, 4, 9]
    assert screen.getvalue().strip() == ""


def test_lines_are_json_whatever_the_numbers(tmp_path: Path) -> None:
    callback = callbacks.JsonLines(tmp_path / "new" / "log.jsonl")
    callback.epoch(1, loss=0.1 + 0.2, lr=1e-300)
    callback.epoch(2, loss=math.nan, lr=math.inf)
    callback.close()
    callbacks.JsonLines(tmp_path / "new" / "log.jsonl").epoch(3, loss=1.0)
    first, second, third = map(json.loads, (tmp_path / "new" / "log.jsonl").read_text().splitlines())
    assert first == {"epoch": 1, "loss": 0.1 + 0.2, "lr": 1e-300}
    assert second == {"epoch": 2, "loss": None, "lr": None}
    assert third["epoch"] == 3


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(VlpromptError, match="could not take a line"):
        callbacks.JsonLines(tmp_path).epoch(1, loss=1.0)


def test_tensorboard_gets_scalars(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Recorder
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    board = callbacks.TensorBoard(tmp_path)
    board.epoch(2, loss=0.5, lr=0.1)
    board.close()
    assert board._writer.seen == [((str(tmp_path),), {}), ("loss", 0.5, 2), ("lr", 0.1, 2), "closed"]


def test_wandb_gets_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("wandb")
    module.init = Recorder
    monkeypatch.setitem(sys.modules, "wandb", module)
    run = callbacks.Wandb("prompts", mode="offline")
    run.epoch(2, loss=0.5)
    run.close()
    assert run._run.seen == [((), {"project": "prompts", "mode": "offline"}), ({"loss": 0.5}, {"step": 2}), "closed"]


@pytest.mark.parametrize(
    ("module", "make"),
    [("torch.utils.tensorboard", callbacks.TensorBoard), ("wandb", callbacks.Wandb)],
)
def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, module: str, make: Any) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(VlpromptError, match=r'is not installed; run: pip install "vlprompt\[track\]"'):
        make("x")
