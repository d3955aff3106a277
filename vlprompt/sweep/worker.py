"""What does the single runs of a sweep, one after the other: in this process, or in one of several."""

import os
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vlprompt.data.features import FeatureStore
from vlprompt.data.task import Task
from vlprompt.errors import VlpromptError, VlpromptWarning
from vlprompt.runner import Bench
from vlprompt.shares import OthersMissingError
from vlprompt.sweep.experiment import Experiment
from vlprompt.sweep.plan import Unit
from vlprompt.sweep.running import runs


@dataclass(frozen=True)
class Outcome:
    """What came of a unit.

    Attributes:
        results: Result lines, those that were there before among them; none where other shares are missing.
        error: Why it failed, in one line; empty where it did not.
        trace: Where in the code, for an error that is not the user's.
        warnings: What the user should know, a line each.
    """

    results: tuple[str, ...] = ()
    error: str = ""
    trace: str = ""
    warnings: tuple[str, ...] = ()


class Worker:
    """Runs units; the model and the data of the last one stay open for the next.

    Args:
        out: Folder for results, prompts and the states of unfinished runs.
        fresh: Run again what already has a result.
        threads: For torch; 0: as it is.
        folder: To work in, where that is not the process's own: relative paths in a sweep's file start there.
    """

    def __init__(self, out: Path, *, fresh: bool = False, threads: int = 0, folder: Path | None = None) -> None:
        self._out = out
        self._fresh = fresh
        self._backbone: tuple[object, Any] | None = None
        self._tasks: tuple[object, Sequence[Task]] | None = None
        if threads:
            torch.set_num_threads(threads)
        if folder:
            os.chdir(folder)

    def ready(self) -> bool:
        """Answer, which a worker can do once it has started."""
        return True

    def run(self, unit: Unit) -> Outcome:
        """Do a unit; whatever is wrong with it is told, and the next can come."""
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", VlpromptWarning)
            lines, error, trace = self._attempt(unit)
        return Outcome(lines, error, trace, tuple(dict.fromkeys(str(each.message) for each in seen)))

    def _attempt(self, unit: Unit) -> tuple[tuple[str, ...], str, str]:
        """Result lines, or the error and where it was."""
        try:
            bench = Bench(
                self._open_backbone(unit.experiment),
                self._out,
                FeatureStore(),
                unit.experiment.training,
                fresh=self._fresh,
                quiet=True,
                share=unit.share,
            )
            found = runs(unit.experiment, bench, self._open_tasks(unit.experiment))
            return tuple(result.to_json() for result in found), "", ""
        except OthersMissingError:
            return (), "", ""
        except VlpromptError as error:
            return (), str(error), ""
        except Exception as error:  # the other runs must go on; with its trace it can be found
            return (), f"{type(error).__name__}: {str(error).partition(chr(10))[0]}", traceback.format_exc()

    def _open_backbone(self, experiment: Experiment) -> Any:
        """The frozen model, loaded once for all units in a row that want it."""
        wanted = (experiment.backbone, experiment.pretrained, experiment.precision, experiment.device)
        if self._backbone is None or self._backbone[0] != wanted:
            self._backbone = None  # two models at once may be more than memory holds
            self._backbone = (wanted, experiment.open_backbone())
        return self._backbone[1]

    def _open_tasks(self, experiment: Experiment) -> Sequence[Task]:
        """The data, read once for all units in a row that want it."""
        wanted = (experiment.protocol, experiment.task, tuple(experiment.targets), experiment.root)
        if self._tasks is None or self._tasks[0] != wanted:
            self._tasks = (wanted, experiment.open_tasks())
        return self._tasks[1]
