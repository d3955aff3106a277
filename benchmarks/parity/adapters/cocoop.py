"""CoCoOp: a few steps on one batch, by CoOp's trainers/cocoop.py."""

from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.parity.adapters.coop import ids_as_stored
from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from benchmarks.parity.training import OneBatch, after_steps, batch_of, gradients, name_lengths, trace, train_config
from vlprompt.data.batch import features_of
from vlprompt.learners.cocoop import CoCoOp, CoCoOpConfig

METHOD = r"cocoop(?![/\w])(?!.*\b(schedule|split|sampling)).*"
INPUTS = ("classnames", "images", "labels", r"init\..*")

LAYERS = {"linear1": "0", "linear2": "2"}
NAMES = {"ctx": "context"} | {
    f"meta_net.{theirs}.{kind}": f"meta_net.{ours}.{kind}"
    for theirs, ours in LAYERS.items()
    for kind in ("weight", "bias")
}


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Everything from the ids to the context and the Meta-Net after some steps of `fit`."""
    clip, names, words = models.clip, case.words("classnames"), str(case.hyper.get("ctx_init") or "")
    own = {ours: case.tensor(f"init.{theirs}") for theirs, ours in NAMES.items()}
    start = CoCoOp(clip, names, CoCoOpConfig(n_ctx=len(own["context"]), words=words))
    learner = CoCoOp(clip, names, start.config)
    learner.restore(own, case.file)
    batch = batch_of(clip, learner, case.tensor("images"), case.tensor("labels"))
    with torch.no_grad():
        answers: dict[str, Any] = {
            "name_lens": name_lengths(clip, names),
            "tokenized_prompts": ids_as_stored(case, clip, learner.layout, words),
            "meta_bias": learner.shift(features_of(batch)),
            "logits": learner.predict(batch),
            "loss": learner.loss(batch),
        }
    if words:
        answers["init.ctx"] = start.context
    gradient = gradients(learner, batch)
    config = train_config(case, epochs=int(case.hyper["steps"]), batch_size=len(batch))
    steps = trace(learner, OneBatch(batch), config)
    for theirs, ours in NAMES.items():
        answers[f"grad.{theirs}"] = gradient[ours]
        for number, state in enumerate(steps.states, start=1):
            answers[f"step{number}.{theirs}"] = after_steps(config, state[ours], gradient[ours])
    with torch.no_grad():
        after = learner.loss(batch)
    return answers | {"loss_steps": torch.stack([*steps.losses, after]), "logits_final": learner.predict(batch)}
