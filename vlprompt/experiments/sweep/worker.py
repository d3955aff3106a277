"""Worker: carries out the single runs of a sweep one after another, in this process or in one of several."""

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
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.shards import ShardsMissingError
from vlprompt.experiments.sweep.experiment import Experiment
from vlprompt.experiments.sweep.plan import Unit
from vlprompt.experiments.sweep.running import runs


@dataclass(frozen=True)
class UnitReport:
    """What happened to a unit.

    Attributes:
        results: Result lines, also of runs that were finished before; none while other shards are missing.
        error: The reason of a failure in one line; empty without one.
        trace: Where in the code an error occurred that is not the user's.
        warnings: Warnings for the user, a line each.
    """

    results: tuple[str, ...] = ()
    error: str = ""
    trace: str = ""
    warnings: tuple[str, ...] = ()


class Worker:
    """Runs units; the model and the data of the last one stay open for the next.

    Args:
        out: Folder for results, prompts and the states of unfinished runs.
        fresh: Repeat runs that have a result.
        threads: Of torch; 0: unchanged.
        folder: The working folder, if it is not the process's own; relative paths in a sweep file start there.
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

    def run(self, unit: Unit) -> UnitReport:
        """Run a unit; an error is reported, and the worker can run the next unit."""
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", VlpromptWarning)
            lines, error, trace = self._attempt(unit)
        return UnitReport(lines, error, trace, tuple(dict.fromkeys(str(each.message) for each in seen)))

    def _attempt(self, unit: Unit) -> tuple[tuple[str, ...], str, str]:
        """Result lines; or an error, and where it occurred."""
        experiment = unit.experiment
        try:
            backbone, store = self._open_backbone(experiment), FeatureStore()
            training, shard = experiment.training, unit.shard
            runner = Runner(backbone, self._out, store, training, fresh=self._fresh, quiet=True, shard=shard)
            results = runs(experiment, runner, self._open_tasks(experiment))
            return tuple(result.to_json() for result in results), "", ""
        except ShardsMissingError:
            return (), "", ""
        except VlpromptError as error:
            return (), str(error), ""
        except Exception as error:  # an unexpected error must not stop the other runs
            return (), f"{type(error).__name__}: {str(error).partition(chr(10))[0]}", traceback.format_exc()

    def _open_backbone(self, experiment: Experiment) -> Any:
        """The frozen model, loaded once for consecutive units that use it."""
        key = (experiment.backbone, experiment.pretrained, experiment.precision, experiment.device)
        if self._backbone is None or self._backbone[0] != key:
            self._backbone = None  # two models at once may not fit into memory
            self._backbone = (key, experiment.open_backbone())
        return self._backbone[1]

    def _open_tasks(self, experiment: Experiment) -> Sequence[Task]:
        """The data, read once for consecutive units that use it."""
        key = (experiment.protocol, experiment.task, tuple(experiment.targets), experiment.root)
        if self._tasks is None or self._tasks[0] != key:
            self._tasks = (key, experiment.open_tasks())
        return self._tasks[1]
