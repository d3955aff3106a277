"""The linear probe of KaiyangZhou/CoOp's lpclip/linear_probe.py: every C that it tries, and its regression."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from vlprompt.data.batches import feature_batches
from vlprompt.learners import LinearProbe, LinearProbeConfig
from vlprompt.learners.linear_probe import GRID, compared_pairs

METHOD = r"linear probe.*"
INPUTS = ("(train|val|test)_(features|labels)",)


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """The search for C, the weights, and the answers on the test features."""
    hyper = case.hyper
    config = LinearProbeConfig(iterations=int(hyper["max_iter"]), search_steps=int(hyper["num_step"]))
    learner = LinearProbe(models.clip, [f"class {i}" for i in range(int(hyper["classes"]))], config)
    batches = {
        split: feature_batches(
            case.tensor(f"{split}_features"),
            case.tensor(f"{split}_labels"),
            batch_size=len(case.array(f"{split}_labels")),
        )
        for split in ("train", "val", "test")
    }
    arrays = [case.array(f"{split}_{part}") for split in ("train", "val") for part in ("features", "labels")]
    accuracy = learner.accuracy_on(*(each.astype(np.float64) if each.dtype.kind == "f" else each for each in arrays))
    best = max(GRID, key=accuracy)
    pairs = compared_pairs(accuracy, best / 10, best * 10, config.search_steps)
    learner.prepare(batches["train"], batches["val"])
    weight, bias = learner.weight.detach(), learner.bias.detach()
    two = len(learner.classes) == 2  # scikit-learn has one vector then, the difference of our two
    return {
        "grid_acc": np.array([accuracy(c) for c in GRID]),
        "search_c": np.array(pairs),
        "search_acc": np.array([[accuracy(c) for c in pair] for pair in pairs]),
        "final_c": np.array(learner.search(accuracy)),
        "coef": weight[1:] - weight[:1] if two else weight,
        "intercept": bias[1:] - bias[:1] if two else bias,
        "answers_idx": learner.predict(next(batches["test"].epoch(0))).argmax(dim=1),
    }
