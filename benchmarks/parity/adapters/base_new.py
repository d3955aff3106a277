"""CoOp's base and new halves of the classes: subsample_classes of its datasets/oxford_pets.py."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from vlprompt.data.task import Example, Task

METHOD = r".*\bbase[/-]?(and-|to-)?new\b.*split.*"
SPLITS = ("train", "val", "test")
INPUTS = (r"c\d+_(train|val|test)_label",)


def replay(case: Case, models: Models) -> Mapping[str, Any]:  # noqa: ARG001
    """What `Task.base_and_new` keeps of every stored list, and its new labels."""
    answers: dict[str, Any] = {}
    for number in sorted({found[1] for name in case.arrays if (found := re.match(r"(c\d+)_", name))}):
        halves = _task(case, number).base_and_new()
        for which, half in zip(("base", "new"), halves, strict=True):
            for split in SPLITS:
                kept = getattr(half, split)
                answers[f"{number}_{which}_{split}_index"] = np.array([x.item for x in kept], dtype=np.int64)
                answers[f"{number}_{which}_{split}_label"] = np.array([x.label for x in kept], dtype=np.int64)
    return answers


def _task(case: Case, number: str) -> Task:
    """A task of the stored labels, whose examples know their own position."""
    stored = {split: case.arrays.get(f"{number}_{split}_label", np.zeros(0, int)) for split in SPLITS}
    count = 1 + max(int(each.max()) for each in stored.values() if each.size)
    train, val, test = (
        tuple(Example(item, int(label)) for item, label in enumerate(stored[split].tolist())) for split in SPLITS
    )
    return Task("stored", tuple(f"class {i}" for i in range(count)), train=train, val=val, test=test)
