"""What the goldens of VPT and its baselines share: images, a linear head, features, loss and gradients."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.parity.case import Case, CaseError
from benchmarks.parity.models import Models
from benchmarks.parity.training import Learner, gradients
from vlprompt.data.batch import Batch, images_of
from vlprompt.prompts.head import Head

HEAD = {"head_weight": "head.weight", "head_bias": "head.bias"}


def classes(case: Case) -> list[str]:
    """A name for each class of the head."""
    count = case.hyper["num_classes"] if "num_classes" in case.hyper else len(case.array("head_weight"))
    return [f"class {number}" for number in range(int(count))]


def batch_of(case: Case) -> Batch:
    """The images and their labels, unknown where the case has none."""
    images = case.tensor("images")
    index = torch.arange(len(images))
    labels = case.tensor("labels") if "labels" in case.arrays else torch.full_like(index, -1)
    return Batch(labels, index, images=images)


def tensors_of(case: Case, names: Mapping[str, str]) -> dict[str, Tensor]:
    """The case's tensors under our names, given {the case's name: our name}."""
    return {ours: case.tensor(theirs) for theirs, ours in names.items()}


def begin(learner: Learner, tensors: Mapping[str, Tensor], source: str) -> None:
    """Give tensors the case's initial values; the others do not change."""
    learner.restore({**learner.saved_tensors(), **tensors}, source)


def at_start(learner: Learner, batch: Batch, names: Mapping[str, str]) -> dict[str, Any]:
    """Scores, loss and gradients of a learner in evaluation mode.

    Args:
        learner: With the case's tensors.
        batch: Images and labels.
        names: {the case's name of a trainable tensor: our name}.
    """
    learner.eval()
    found = gradients(learner, batch)
    with torch.no_grad():
        answers: dict[str, Any] = {"logits": learner.predict(batch), "loss": learner.loss(batch)}
    return answers | {f"grad_{theirs}": found[ours] for theirs, ours in names.items()}


def with_features(batch: Batch, models: Models) -> Batch:
    """The batch with the frozen ViT's features of its images."""
    with torch.no_grad():
        return replace(batch, features=models.vit.encode_image(images_of(batch)))


def at_task(head: Head, case: Case) -> None:
    """Restrict a head to the classes of the case's task."""
    if "task_classes" in case.arrays:
        present = case.tensor("task_classes")
    elif "classes_per_task" in case.hyper:
        count = int(case.hyper["classes_per_task"])
        present = torch.arange(count) + count * int(case.hyper["task_index"])
    else:
        raise CaseError("the case does not state the classes of its task")
    head.present = torch.zeros(head.out_features, dtype=torch.bool).index_fill_(0, present, True)
