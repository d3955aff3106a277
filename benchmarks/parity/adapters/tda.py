"""TDA by kdiAAA/TDA's tda_runner.py: a stream of test images, with its division of nats by log2(C)."""

from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from vlprompt.data.batch import Batch
from vlprompt.learners import TDA, TDAConfig

METHOD = r"tda"
INPUTS = ("classnames", "templates", "view_features", "labels")


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """The entropies, what is uncertain, and the scores of every image."""
    views = case.tensor("view_features")
    learner = TDA(models.clip, case.words("classnames"), config_of(case))
    _, scores, probabilities = learner.read(views)
    share = learner.uncertainty(probabilities)
    index = torch.arange(len(views))
    return {
        "text_features": learner.class_features(),
        "entropy_raw": torch.special.entr(probabilities).sum(dim=-1),
        "entropy_share": share,
        "prob": probabilities,
        "pred_idx": scores.argmax(dim=1),
        "unsure": torch.tensor([learner.is_unsure(each) for each in share.tolist()]),
        "logits": learner.predict(Batch(index * 0 - 1, index, views=views)),
    }


def config_of(case: Case) -> TDAConfig:
    """The settings of a case; a cache that is off has the weight 0."""
    hyper = case.hyper
    caches = {
        f"{cache}_{name}": hyper[f"{cache}_{name}"]
        for cache in ("positive", "negative")
        for name in ("size", "alpha", "beta")
    }
    off = {f"{cache}_alpha": 0.0 for cache in ("positive", "negative") if not hyper[f"{cache}_enabled"]}
    return TDAConfig(
        views=int(hyper["n_views"]),
        confident=float(hyper["selection_p"]),
        unsure_from=float(hyper["unsure_from"]),
        unsure_to=float(hyper["unsure_to"]),
        likely=float(hyper["likely_from"]),
        templates=tuple(case.words("templates")),
        reference_quirks=True,
        **(caches | off),
    )
