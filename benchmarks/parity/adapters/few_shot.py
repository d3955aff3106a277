"""CoOp's few-shot draw: Dassl's generate_fewshot_dataset, train and then val from one stream of random numbers."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.parity.case import Array, Case
from benchmarks.parity.models import Models
from vlprompt.data.images import Example
from vlprompt.data.task import Task

METHOD = r".*\bfew-?shot sampling\b.*"
INPUTS = ("(train|val)_impath", "(train|val)_label")


def replay(case: Case, models: Models) -> Mapping[str, Any]:  # noqa: ARG001
    """The positions that `Task.few_shot` draws, for every stored seed and number of shots."""
    task = numbered_task({split: case.arrays.get(f"{split}_label") for split in ("train", "val")})
    answers: dict[str, Any] = {}
    for name in case.arrays:
        if drawn := re.fullmatch(r"(train|val)_seed(\d+)_shots?(\d+)", name):
            chosen = task.few_shot(int(drawn[3]), int(drawn[2]))
            answers[name] = np.array([example.item for example in getattr(chosen, drawn[1])], dtype=np.int64)
    return answers


def numbered_task(labels: Mapping[str, Array | None]) -> Task:
    """A task of stored labels by split; the item of an example is its position."""
    stored = {split: [] if given is None else given.tolist() for split, given in labels.items()}
    count = 1 + max(max(given) for given in stored.values() if given)
    splits: dict[str, Any] = {
        split: tuple(Example(*pair) for pair in enumerate(given)) for split, given in stored.items()
    }
    return Task("stored", tuple(f"class {i}" for i in range(count)), **splits)
