"""evaluate: score a learner on examples that it has not seen."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from vlprompt.backbones.matmul import fast_matmul
from vlprompt.data import feed
from vlprompt.data.batches import Batches
from vlprompt.data.features import FeatureStore
from vlprompt.data.task import Task
from vlprompt.errors import UsageError, out_of_memory
from vlprompt.learner import PromptLearner
from vlprompt.training.metrics import compute

METRICS = ("top1", "class_mean", "ece_15_equal_width")


@runtime_checkable
class Online(Protocol):
    """A learner whose answer depends on the test images before."""

    def reset(self) -> None:
        """Forget all test images: a new stream begins."""


@dataclass(frozen=True)
class Scores:
    """The class scores of some examples, and metrics computed from them.

    Attributes:
        metrics: By name, as fractions; empty where no label is known.
        scores: (N, C) class scores, float32.
        labels: (N,) int64, -1 where unknown.
        seconds: Time in all.
        predict_seconds: Time spent in the learner's `predict`.
    """

    metrics: dict[str, float]
    scores: Tensor
    labels: Tensor
    seconds: float
    predict_seconds: float = 0.0


@fast_matmul()
def evaluate(
    learner: PromptLearner[Any, Any],
    data: Task | Batches,
    names: Sequence[str] = METRICS,
    *,
    store: FeatureStore | None = None,
    test_time: bool = True,
    workers: int = 0,
) -> Scores:
    """Score every example of a task's test split (or of some batches) and compute metrics.

    Args:
        learner: Any method; its classes must include the task's. Classes that the task lacks are left out of the scores
            (ImageNet-A and -R have 200 of ImageNet's 1,000).
        data: A task, or batches in order.
        names: Metrics, see `vlprompt.training.metrics`; where no label is known, only scores are returned.
        store: Where features of frozen encoders are stored; the user's cache by default.
        test_time: Whether a method that adapts to test images does so (`predict`), or not (`forward`).
        workers: Processes that decode images.

    Raises:
        UsageError: An argument has another type; the task has no test images, or a class that the learner does not
            know.
        VlpromptError: Memory runs out.
    """
    began = time.perf_counter()
    check_arguments("evaluate", learner, data)
    columns: list[int] | None = None
    if isinstance(data, Task):
        if not data.test:
            raise UsageError(f"{data.name} has no test images.")
        columns = columns_of(learner, data)
        reads = (learner.needs, learner.backbone, data, data.test, store or FeatureStore())
        data = feed.test_batches(*reads, workers=workers)
    with out_of_memory("while evaluating; use fewer views or classes at once, or precision bf16."):
        scores, labels, spent = _scores(learner.eval(), data, columns, test_time=test_time)
    measured = compute(names, scores, labels) if bool((labels >= 0).any()) else {}
    return Scores(measured, scores, labels, time.perf_counter() - began, spent)


def check_arguments(function: str, learner: object, data: object) -> None:
    """Raise UsageError unless a function that scores or trains was given a learner and a task or batches."""
    if not isinstance(learner, PromptLearner):
        raise UsageError(f"{function}: the first argument is a {type(learner).__name__}; give a learner.")
    if not (isinstance(data, Task) or callable(getattr(data, "epoch", None))):
        raise UsageError(
            f"{function}: the second argument is a {type(data).__name__}; give a task, as Task.from_folder makes it. "
            "For a part of a task: dataclasses.replace(task, test=...); for images without labels: learner.classify."
        )


def _scores(
    learner: PromptLearner[Any, Any], data: Batches, columns: list[int] | None, *, test_time: bool
) -> tuple[Tensor, Tensor, float]:
    """(N, C) float32 scores and (N,) labels of one stream, and the seconds spent in the learner."""
    if isinstance(learner, Online):
        learner.reset()
    score = learner.predict if test_time else torch.no_grad()(learner.forward)
    parts, labels, spent = [], [], 0.0
    for batch in data.epoch(0):
        began = time.perf_counter()
        found = score(batch.to(learner.backbone.device)).float().cpu()
        spent += time.perf_counter() - began
        parts.append(found if columns is None else found[:, columns])
        labels.append(batch.labels.cpu())
    return torch.cat(parts), torch.cat(labels), spent


def columns_of(learner: PromptLearner[Any, Any], task: Task) -> list[int] | None:
    """The learner's columns of the task's classes; None if the classes are the same.

    Raises:
        UsageError: The learner does not know one of them.
    """
    if task.classes == learner.classes:
        return None
    place = {name: number for number, name in enumerate(learner.classes)}
    unknown = [name for name in task.classes if name not in place]
    if unknown:
        raise UsageError(
            f"{task.name} has classes that the learner was not built for ({', '.join(unknown[:3])}); call "
            "learner.begin_task(task) first."
        )
    return [place[name] for name in task.classes]
