"""CoOp over several epochs with Dassl's learning-rate schedule, on the stored batches in the stored order."""

from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.parity.adapters.coop import build, start
from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from benchmarks.parity.training import batch_of, trace, train_config
from vlprompt.data.batch import features_of
from vlprompt.data.batches import feature_batches

METHOD = r"coop(?![/\w]).*\bschedule\b.*"
INPUTS = ("classnames", "images", "labels", "ctx_init")


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Learning rate and loss of every step, the context after every epoch."""
    learner = build(case, models.clip)
    answers = start(case, models.clip, learner)
    whole = batch_of(models.clip, learner, case.tensor("images"), case.tensor("labels"))
    size = int(case.hyper["batch"])
    count = int(case.hyper.get("batches_per_epoch", len(whole) // size))
    used = whole.part(torch.arange(size * count))
    data = feature_batches(features_of(used), used.labels, batch_size=size)
    steps = trace(learner, data, train_config(case, epochs=int(case.hyper["epochs"]), batch_size=size))
    return answers | {
        "lr_iterations": torch.tensor(steps.rates, dtype=torch.float64),
        "loss_iterations": torch.stack(steps.losses),
        "ctx_steps": steps.stacked("context"),
        "ctx_epochs": steps.stacked("context")[count - 1 :: count],
        "logits_final": learner.predict(whole),
    }
