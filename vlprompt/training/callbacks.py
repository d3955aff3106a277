"""Callbacks of `fit`: they are given numbers after every epoch and never change the training."""

import importlib
import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tqdm import tqdm

from vlprompt.errors import VlpromptError

T = TypeVar("T")


class Callback(Protocol):
    """What `fit` calls after every epoch."""

    def epoch(self, number: int, **values: float) -> None:
        """Take the numbers of an epoch, counted from 1: loss, lr and waiting."""

    def close(self) -> None:
        """No more numbers will come."""


class ProgressBar:
    """A progress bar over epochs that shows the last numbers; silent where stderr is not a terminal.

    Args:
        total: The number of epochs, where it is known.
        label: Words in front of the bar.
    """

    def __init__(self, total: int | None = None, label: str = "train") -> None:
        self._bar = tqdm(total=total, desc=label, unit="epoch", disable=None, file=sys.stderr)

    def epoch(self, number: int, **values: float) -> None:
        """Move the bar to this epoch; an epoch that is not later than the last one restarts the bar."""
        if self._bar.disable:
            return
        if number <= self._bar.n:
            self._bar.reset()
        self._bar.set_postfix({name: f"{value:.4g}" for name, value in values.items()}, refresh=False)
        self._bar.update(number - self._bar.n)

    def close(self) -> None:
        """End the line of the bar."""
        self._bar.close()


class JsonLines:
    """One line of JSON per epoch, added to a file; numbers that JSON cannot hold (NaN, infinite) become null.

    Args:
        path: The file; made with its folder at the first epoch.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def epoch(self, number: int, **values: float) -> None:
        """Add a line.

        Raises:
            VlpromptError: The file cannot be written.
        """
        finite = {name: float(value) if math.isfinite(value) else None for name, value in values.items()}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"epoch": number} | finite) + "\n")
        except OSError as error:
            raise VlpromptError(f"{self._path} could not take a line ({error.strerror}); check the path.") from error

    def close(self) -> None:
        """Do nothing: every line is in the file already."""


class TensorBoard:
    """Event files for TensorBoard; needs the extra `track`.

    Args:
        folder: Where the event files go.

    Raises:
        VlpromptError: The package is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        self._writer: Any = _needed("torch.utils.tensorboard").SummaryWriter(str(folder))

    def epoch(self, number: int, **values: float) -> None:
        """Write each number as a scalar."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, number)

    def close(self) -> None:
        """Put everything on disk."""
        self._writer.close()


class Wandb:
    """A run of Weights & Biases; needs the extra `track`.

    Args:
        project: The project's name.
        settings: Passed to `wandb.init` (name, config, mode, ...).

    Raises:
        VlpromptError: The package is not installed.
    """

    def __init__(self, project: str, **settings: Any) -> None:
        self._run: Any = _needed("wandb").init(project=project, **settings)

    def epoch(self, number: int, **values: float) -> None:
        """Send the numbers."""
        self._run.log(values, step=number)

    def close(self) -> None:
        """End the run."""
        self._run.finish()


def progress(iterable: Iterable[T], label: str, total: int | None = None) -> Iterable[T]:
    """The same items, with a bar on stderr once two seconds have passed and only where it is a terminal.

    Args:
        iterable: What to go through.
        label: Words in front of the bar.
        total: How many items, where `len` does not tell.
    """
    bar: Iterable[T] = tqdm(iterable, desc=label, total=total, delay=2, leave=False, disable=None, file=sys.stderr)
    return bar


def _needed(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.rpartition(".")[2]
        raise VlpromptError(f'{name} is not installed; run: pip install "vlprompt[track]".') from error
