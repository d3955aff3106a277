"""Watch a training: on the terminal, in a file, or in a service. A tracker is told numbers and never changes any."""

import importlib
import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tqdm import tqdm

from vlprompt.errors import VlpromptError

T = TypeVar("T")


class Tracker(Protocol):
    """Whatever wants to know how a training goes."""

    def log(self, step: int, **values: float) -> None:
        """Take the numbers of one step, counted from 1 (`fit` counts epochs and gives loss and lr)."""

    def close(self) -> None:
        """Finish: no more numbers will come."""


class Silent:
    """Takes everything, shows nothing."""

    def log(self, step: int, **values: float) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Console:
    """A progress bar over steps that shows the last numbers; nothing where stderr is not a terminal.

    Args:
        total: How many steps a training has, where that is known.
        what: Words in front of the bar.
    """

    def __init__(self, total: int | None = None, what: str = "train") -> None:
        self._bar = tqdm(total=total, desc=what, unit="epoch", disable=None, file=sys.stderr)

    def log(self, step: int, **values: float) -> None:
        """Move the bar to this step; a step that is not further on starts the bar anew."""
        if self._bar.disable:
            return
        if step <= self._bar.n:
            self._bar.reset()
        self._bar.set_postfix({name: f"{value:.4g}" for name, value in values.items()}, refresh=False)
        self._bar.update(step - self._bar.n)

    def close(self) -> None:
        """Leave the bar as it stands and end its line."""
        self._bar.close()


class JsonLines:
    """One line of JSON per step, added to a file; numbers JSON has no word for (NaN, infinite) become null.

    Args:
        path: The file; made with its folder at the first step.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def log(self, step: int, **values: float) -> None:
        """Add a line.

        Raises:
            VlpromptError: The file cannot be written.
        """
        finite = {name: float(value) if math.isfinite(value) else None for name, value in values.items()}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step} | finite) + "\n")
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

    def log(self, step: int, **values: float) -> None:
        """Write each number as a scalar."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

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

    def log(self, step: int, **values: float) -> None:
        """Send the numbers."""
        self._run.log(values, step=step)

    def close(self) -> None:
        """End the run."""
        self._run.finish()


class Several:
    """Tells several trackers, in order.

    Args:
        trackers: Who is told.
    """

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = tuple(trackers)

    def log(self, step: int, **values: float) -> None:
        """Tell every tracker."""
        for tracker in self._trackers:
            tracker.log(step, **values)

    def close(self) -> None:
        """Close every tracker."""
        for tracker in self._trackers:
            tracker.close()


def progress(iterable: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:
    """The same items, with a bar on stderr once two seconds have passed and only where it is a terminal.

    Args:
        iterable: What to go through.
        what: Words in front of the bar.
        total: How many items, where `len` does not tell.
    """
    bar: Iterable[T] = tqdm(iterable, desc=what, total=total, delay=2, leave=False, disable=None, file=sys.stderr)
    return bar


def _needed(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.rpartition(".")[2]
        raise VlpromptError(f'{name} is not installed; run: pip install "vlprompt[track]".') from error
