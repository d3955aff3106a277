"""ZERO by FarinaMatteo/zero's ttas/zero.py.

Where no left-out view names a tied class, the code reads scores by a wrong mask; such rows are not compared.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from benchmarks.parity.case import Case
from benchmarks.parity.compare import Answer
from benchmarks.parity.models import Models
from vlprompt.data.batch import Batch
from vlprompt.learners import Zero, ZeroConfig
from vlprompt.learners.zero import NO_VOTE
from vlprompt.prompts.frozen_head import by_certainty

METHOD = r"zero"
INPUTS = ("classnames", "view_features", "tie")


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """The order of the views, the votes and the answers."""
    hyper, views = case.hyper, case.tensor("view_features")
    config = ZeroConfig(views=views.shape[1], confident=float(hyper["gamma"]), templates=(hyper["template"],))
    learner = Zero(models.clip, case.words("classnames"), config)
    index = torch.arange(len(views))
    scores = learner.predict(Batch(index * 0 - 1, index, views=views))
    cast = int(hyper["n_voters"]) + (case.array("tie") != "no tie")  # the one that breaks a tie included
    votes = (scores.exp() - NO_VOTE) * torch.from_numpy(cast)[:, None]
    as_meant = case.array("tie") != "fallback"
    return {
        "text_features": learner.class_features(),
        "surest_idx": by_certainty(learner.view_scores(views)),
        "votes": Answer(votes.round(), where=np.broadcast_to(as_meant[:, None], votes.shape)),
        "answer_idx": Answer(scores.argmax(dim=1), where=as_meant),
    }
