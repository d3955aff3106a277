"""CoOp's base and new halves of the classes: subsample_classes of its datasets/oxford_pets.py."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.parity.adapters.few_shot import numbered_task
from benchmarks.parity.case import Case
from benchmarks.parity.models import Models

METHOD = r".*\bbase[/-]?(and-|to-)?new\b.*split.*"
SPLITS = ("train", "val", "test")
INPUTS = (r"c\d+_(train|val|test)_label",)


def replay(case: Case, models: Models) -> Mapping[str, Any]:  # noqa: ARG001
    """The examples of every stored list that `Task.base_and_new` selects, and their new labels."""
    answers: dict[str, Any] = {}
    for number in sorted({found[1] for name in case.arrays if (found := re.match(r"(c\d+)_", name))}):
        task = numbered_task({split: case.arrays.get(f"{number}_{split}_label") for split in SPLITS})
        for which, half in zip(("base", "new"), task.base_and_new(), strict=True):
            for split in SPLITS:
                selected = getattr(half, split)
                answers[f"{number}_{which}_{split}_index"] = np.array([x.item for x in selected], dtype=np.int64)
                answers[f"{number}_{which}_{split}_label"] = np.array([x.label for x in selected], dtype=np.int64)
    return answers
