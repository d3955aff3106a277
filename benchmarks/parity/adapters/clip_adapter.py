"""CLIP-Adapter by gaopengcuhk/CLIP-Adapter's clip_adapter.py, whose text features are not normalised (ours are)."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.parity.case import Case
from benchmarks.parity.compare import Answer
from benchmarks.parity.models import Models
from benchmarks.parity.training import batch_of, gradients, in_order, trace, train_config
from vlprompt.data.batch import features_of
from vlprompt.learners import CLIPAdapter, CLIPAdapterConfig

METHOD = r"clip-adapter.*"
PARTS = {"down": "adapter.0.weight", "up": "adapter.2.weight"}
INPUTS = ("classnames", "images", "labels", r"init\..*")


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Features, scores, gradients, and every step of training."""
    hyper = case.hyper
    ratio, reduction, template = float(hyper["ratio"]), int(hyper["reduction"]), str(hyper["template"])
    config = CLIPAdapterConfig(ratio=ratio, reduction=reduction, templates=(template,))
    learner = CLIPAdapter(models.clip, case.words("classnames"), config)
    learner.restore({ours: case.tensor(f"init.{theirs}.weight") for theirs, ours in PARTS.items()}, case.file)
    whole, size = batch_of(models.clip, learner, case.tensor("images"), case.tensor("labels")), int(hyper["batch"])
    stored = F.normalize(case.tensor("text_features"), dim=-1).numpy()
    with torch.no_grad():
        answers: dict[str, Any] = {
            "image_features": features_of(whole),
            "adapter_features": learner.adapter(features_of(whole)),
            "text_features": Answer(learner.text()[0], stored=stored, note="normalised"),
            "logits": learner.predict(whole),
        }
    found = gradients(learner, whole.part(torch.arange(size)))
    data = in_order(whole, size, int(hyper["batches_per_epoch"]))
    steps = trace(learner, data, train_config(case, epochs=int(hyper["epochs"]), batch_size=size))
    for theirs, ours in PARTS.items():
        answers |= {f"grad.{theirs}.weight": found[ours], f"{theirs}_steps": steps.stacked(ours)}
    return answers | steps.per_step() | {"logits_final": learner.predict(whole)}
