"""MTA by MaxZanella/MTA's mta.py, solve_mta."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from vlprompt.data.batch import Batch
from vlprompt.learners import MTA, MTAConfig

METHOD = r"mta"
INPUTS = ("classnames", "view_features")


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """The scores of the mode, and how much each view counts."""
    hyper, views = case.hyper, case.tensor("view_features")
    weights = {name: hyper[name] for name in ("lambda_y", "lambda_q")}
    config = MTAConfig(views=views.shape[1], templates=(hyper["template"],), **weights)
    learner = MTA(models.clip, case.words("classnames"), config)
    found: list[Tensor] = []
    mode = learner.mode

    def recording(views: Tensor, affinity: Tensor) -> tuple[Tensor, Tensor]:
        result = mode(views, affinity)
        found.append(result[1])
        return result

    learner.mode = recording  # type: ignore[method-assign]
    index = torch.arange(len(views))
    logits = learner.predict(Batch(index * 0 - 1, index, views=views))
    return {"text_features": learner.class_features(), "logits": logits, "inlierness_prob": found[0]}
