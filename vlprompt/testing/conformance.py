"""check_learner: run every check on a learner, and report each failure in one line."""

import tempfile
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from vlprompt.data.features import FeatureStore
from vlprompt.data.task import Task
from vlprompt.errors import VlpromptError, VlpromptWarning, unknown
from vlprompt.learner import PromptLearner
from vlprompt.testing import checks, samples
from vlprompt.testing.case import Case

CHECKS = {name.removeprefix("check_"): each for name, each in vars(checks).items() if name.startswith("check_")}


class CheckError(VlpromptError):
    """A learner fails some checks; the message has one line for each."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__()
        self.args = ("\n".join(lines),)  # a report; all other errors are one line


def check_learner(kind: type[PromptLearner[Any, Any]], **options: Any) -> None:
    """Run the conformance checks on a learner; without a failure it returns None.

    Args:
        kind: A subclass of `PromptLearner`.
        options: Those of `failures`.

    Raises:
        CheckError: A check fails; one line for each that does.
        UsageError: There is no check of a name.
    """
    if lines := failures(kind, **options):
        raise CheckError([f"{kind.method()} fails {len(lines)} of {len(CHECKS)} checks:", *lines])


def failures(
    kind: type[PromptLearner[Any, Any]],
    *,
    backbone: Any = None,
    task: Task | None = None,
    config: Any = None,
    only: Iterable[str] = (),
) -> list[str]:
    """The failed checks, a line each: "name: reason".

    Args:
        kind: A subclass of `PromptLearner`.
        backbone: A frozen model; None: a small one of the first kind that the method works with.
        task: A small task with training and test examples; None: a bundled one.
        config: Settings; None: the default ones, with fewer layers, views and steps where fields of these names exist.
        only: Names of checks to run (see `CHECKS`); all by default.

    Raises:
        UsageError: There is no check of a name.
    """
    chosen = list(only) or list(CHECKS)
    for name in chosen:
        if name not in CHECKS:
            raise unknown("check", name, CHECKS)
    frozen = samples.backbone_for(kind) if backbone is None else backbone
    own_task = samples.task_for(kind) if task is None else task
    settings = samples.small_config(kind) if config is None else config
    lines = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", VlpromptWarning)
        for name in chosen:
            case = Case(kind, frozen, own_task, settings, FeatureStore(Path(folder) / "store"), Path(folder) / name)
            if reason := _failure(name, case):
                lines.append(f"{name}: {reason}")
    return lines


def _failure(name: str, case: Case) -> str:
    """Why a check fails, in one line; empty where it passes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            CHECKS[name](case)
        except AssertionError as error:
            return str(error).split("\n")[0] or "an assertion without a message failed"
        except Exception as error:  # whatever the learner raises
            return f"{type(error).__name__}: {error}".split("\n")[0]
    return ""
