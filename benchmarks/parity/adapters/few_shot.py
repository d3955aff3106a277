"""CoOp's few-shot draw: Dassl's generate_fewshot_dataset, train and then val from one stream of random numbers."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.parity.case import Array, Case
from benchmarks.parity.models import Models
from vlprompt.data.task import Example, Task

METHOD = r".*\bfew-?shot sampling\b.*"
INPUTS = ("(train|val)_impath", "(train|val)_label")


def replay(case: Case, models: Models) -> Mapping[str, Any]:  # noqa: ARG001
    """The positions that `Task.few_shot` draws, for every seed and number of shots that is stored."""
    labels = {split: case.arrays.get(f"{split}_label", np.zeros(0, int)) for split in ("train", "val")}
    count = 1 + max(int(each.max()) for each in labels.values() if each.size)
    examples = {split: _numbered(each) for split, each in labels.items()}
    task = Task("stored", tuple(f"class {i}" for i in range(count)), train=examples["train"], val=examples["val"])
    answers: dict[str, Any] = {}
    for name in case.arrays:
        if drawn := re.fullmatch(r"(train|val)_seed(\d+)_shots?(\d+)", name):
            chosen = task.few_shot(int(drawn[3]), int(drawn[2]))
            answers[name] = np.array([example.item for example in getattr(chosen, drawn[1])], dtype=np.int64)
    return answers


def _numbered(labels: Array) -> tuple[Example, ...]:
    """Examples that know their own position."""
    return tuple(Example(item, int(label)) for item, label in enumerate(labels.tolist()))
