"""A small experiment in a temporary folder, and the command on it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from benchmarks.accuracy.__main__ import main
from vlprompt.data.task import Task
from vlprompt.experiments import runner
from vlprompt.experiments.results import Result
from vlprompt.experiments.results_file import read
from vlprompt.experiments.sweep import experiment
from vlprompt.learner import PromptLearner

SMALL = Path(__file__).parents[2] / "experiment_files" / "small.toml"


@dataclass(frozen=True)
class Place:
    """A folder of experiments and of their results."""

    root: Path

    def write(self, name: str, text: str) -> None:
        """Write an experiment."""
        (self.root / "experiments").mkdir(exist_ok=True)
        (self.root / "experiments" / f"{name}.toml").write_text(text)

    def command(self, *arguments: str) -> int:
        """Run the command; its exit code."""
        return main(arguments, self.root / "experiments", self.root)

    def results(self, name: str) -> list[Result]:
        """The results of an experiment."""
        return read(self.root / "benchmarks" / "results" / f"{name}.jsonl")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty folder, an own feature store, and a twentieth of the test digits."""
    monkeypatch.setenv("VLPROMPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("warnings.showwarning", None)  # the command sets it; this restores it
    open_task: Callable[..., Task] = experiment.catalog.open_task

    def fewer(what: str, root: Path | None) -> Task:
        task = open_task(what, root)
        return replace(task, test=task.test[::20])

    monkeypatch.setattr(experiment.catalog, "open_task", fewer)
    return Place(tmp_path)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The method and the shots of every training from now on."""
    found: list[str] = []
    fit = runner.fit

    def recorded(learner: PromptLearner, task: Task, *others: object, **more: object) -> object:
        found.append(f"{learner.method()} {len(task.train) // len(task.classes)}")
        return fit(learner, task, *others, **more)

    monkeypatch.setattr(runner, "fit", recorded)
    return found


@pytest.fixture(scope="session")
def small() -> str:
    return "# Small: one epoch.\n" + SMALL.read_text()


@pytest.fixture(scope="session")
def small_base_to_new(small: str) -> str:
    return small.replace("few_shot", "base_to_new").replace("shots = [1, 2]", "shots = 1")
