"""evaluate: judge a learner on images it has not seen."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vlprompt import feed
from vlprompt.backbones.products import fast_products
from vlprompt.data.features import FeatureStore
from vlprompt.data.loaders import Batches
from vlprompt.data.task import Task
from vlprompt.errors import UsageError, out_of_memory
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
        predict_seconds: What of it the learner took, given its features or images.
    """

    metrics: dict[str, float]
    scores: Tensor
    labels: Tensor
    seconds: float
    predict_seconds: float = 0.0


@fast_products()
def evaluate(
    learner: PromptLearner[Any],
    data: Task | Batches,
    names: Sequence[str] = METRICS,
    *,
    store: FeatureStore | None = None,
    adapt: bool = True,
) -> Scores:
    """Score every example of a task's test split (or of some batches) and compute metrics.

    Args:
        learner: Any method; its classes must include the task's. Those that the task lacks are left out of the scores
            (ImageNet-A and -R have 200 of ImageNet's 1,000).
        data: A task, or batches in order.
        names: Metrics, see `vlprompt.metrics`; where no label is known there are scores and no metrics.
        store: Where features of frozen towers are kept; the user's cache by default.
        adapt: Whether the learner may adapt to the test images, if that is what it does (`predict`, not `forward`).

    Raises:
        UsageError: The task has no test images, or a class that the learner does not know.
        VlpromptError: Memory runs out.
    """
    began = time.perf_counter()
    columns: list[int] | None = None
    if isinstance(data, Task):
        if not data.test:
            raise UsageError(f"{data.name} has no test images.")
        columns = columns_of(learner, data)
        data = feed.judging(learner, data, data.test, store or FeatureStore())
    with out_of_memory("while judging; use fewer views or classes at once, or precision bf16."):
        scores, labels, spent = _answers(learner.eval(), data, columns, adapt=adapt)
    measured = compute(names, scores, labels) if bool((labels >= 0).any()) else {}
    return Scores(measured, scores, labels, time.perf_counter() - began, spent)


def _answers(
    learner: PromptLearner[Any], data: Batches, columns: list[int] | None, *, adapt: bool
) -> tuple[Tensor, Tensor, float]:
    """(N, C) float32 scores and (N,) labels of one stream, and the seconds the learner took for them."""
    learner.forget()
    answer = learner.predict if adapt else torch.no_grad()(learner.forward)
    parts, labels, spent = [], [], 0.0
    for batch in data.epoch(0):
        began = time.perf_counter()
        found = answer(batch.to(learner.backbone.device)).float().cpu()
        spent += time.perf_counter() - began
        parts.append(found if columns is None else found[:, columns])
        labels.append(batch.labels.cpu())
    return torch.cat(parts), torch.cat(labels), spent


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
