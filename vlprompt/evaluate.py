"""evaluate: judge a learner on images it has not seen."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vlprompt import feed
from vlprompt.data.features import FeatureStore
from vlprompt.data.loaders import Batches
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.learners.base import PromptLearner
from vlprompt.metrics import compute

METRICS = ("top1", "class_mean", "ece_15_equal_width")


@dataclass(frozen=True)
class Scores:
    """A learner's answers and what they are worth.

    Attributes:
        metrics: By name, as fractions; empty where no label is known.
        scores: (N, C) class scores, float32.
        labels: (N,) int64, -1 where unknown.
        seconds: Time taken.
    """

    metrics: dict[str, float]
    scores: Tensor
    labels: Tensor
    seconds: float


def evaluate(
    learner: PromptLearner[Any],
    data: Task | Batches,
    names: Sequence[str] = METRICS,
    *,
    store: FeatureStore | None = None,
) -> Scores:
    """Score every example of a task's test split (or of some batches) and compute metrics.

    Args:
        learner: Any method; its classes must include the task's. Those that the task lacks are left out of the scores
            (ImageNet-A and -R have 200 of ImageNet's 1,000).
        data: A task, or batches in order.
        names: Metrics, see `vlprompt.metrics`.
        store: Where features of frozen towers are kept; the user's cache by default.

    Raises:
        UsageError: The task has no test images, or a class that the learner does not know.
    """
    began = time.perf_counter()
    columns: list[int] | None = None
    if isinstance(data, Task):
        if not data.test:
            raise UsageError(f"{data.name} has no test images.")
        columns = columns_of(learner, data)
        data = feed.judging(learner, data, data.test, store or FeatureStore())
    learner.eval()
    parts, labels = [], []
    for batch in data.epoch(0):
        found = learner.predict(batch.to(learner.backbone.device)).float().cpu()
        parts.append(found if columns is None else found[:, columns])
        labels.append(batch.labels.cpu())
    scores, known = torch.cat(parts), torch.cat(labels)
    measured = compute(names, scores, known) if bool((known >= 0).any()) else {}
    return Scores(measured, scores, known, time.perf_counter() - began)


def columns_of(learner: PromptLearner[Any], task: Task) -> list[int] | None:
    """Where the task's classes stand among the learner's; None if they are the same.

    Raises:
        UsageError: The learner does not know one of them.
    """
    if task.classes == learner.classes:
        return None
    place = {name: number for number, name in enumerate(learner.classes)}
    strange = [name for name in task.classes if name not in place]
    if strange:
        raise UsageError(
            f"{task.name} has classes that the learner was not built for ({', '.join(strange[:3])}); call "
            "learner.begin_task(task) first."
        )
    return [place[name] for name in task.classes]
