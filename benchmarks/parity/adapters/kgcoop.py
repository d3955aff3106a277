"""KgCoOp by htyao89/KgCoOp's trainers/kgcoop.py: the prompts, the distance, and some epochs of training."""

from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.parity.adapters.coop import ids_as_stored
from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from benchmarks.parity.training import batch_of, gradients, in_order, trace, train_config
from vlprompt.learners import KgCoOp, KgCoOpConfig

METHOD = r"kgcoop.*"
INPUTS = ("classnames", "images", "labels", "ctx_init")


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Everything from the ids to the scores after the last epoch."""
    hyper, context = case.hyper, case.tensor("ctx_init")
    words, weight = str(hyper["ctx_init"] or ""), float(hyper["weight"])
    config = KgCoOpConfig(n_ctx=len(context), words=words, weight=weight, templates=(hyper["template"],))
    learner = KgCoOp(models.clip, case.words("classnames"), config)
    answers: dict[str, Any] = {"ctx_init": learner.context.detach().clone()} if words else {}
    learner.restore({"context": context}, case.file)
    whole, size = batch_of(models.clip, learner, case.tensor("images"), case.tensor("labels")), int(hyper["batch"])
    first = whole.part(torch.arange(size))
    with torch.no_grad():
        answers |= {
            "tokenized_prompts": ids_as_stored(case, models.clip, learner.layout, words),
            "text_features": learner.text()[0],
            "frozen_text_features": learner.frozen,
            "loss_distance": learner.distance(learner.text()[0]),
            "logits": learner.predict(first),
        }
    answers["grad_ctx"] = gradients(learner, first)["context"]
    data = in_order(whole, size, int(hyper["batches_per_epoch"]))
    steps = trace(learner, data, train_config(case, epochs=int(hyper["epochs"]), batch_size=size))
    return answers | steps.per_step() | {"ctx_steps": steps.stacked("context"), "logits_final": learner.predict(first)}
