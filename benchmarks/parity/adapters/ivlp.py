"""IVLP: a few steps on one batch, by multimodal-prompt-learning's trainers/independentVL.py and clip/model.py."""

from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.parity import deep
from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from benchmarks.parity.training import OneBatch, batch_of, gradients, trace, train_config
from vlprompt.learners.ivlp import IVLP, IVLPConfig

METHOD = r"ivlp.*"
INPUTS = deep.INPUTS


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Everything from the ids to the trainable tensors after some steps of `fit`."""
    clip = models.clip
    learner = IVLP(clip, case.words("classnames"), IVLPConfig(**deep.settings(case)))
    answers, places = deep.begin_independent(case, learner)
    batch = batch_of(clip, learner, case.tensor("images"), case.tensor("labels"))
    with torch.no_grad():
        answers |= {"text_features": learner.text()[0]}
        answers |= {"image_features": learner.image_features(batch)}
        answers |= {"logits": learner.predict(batch), "loss": learner.loss(batch)}
    answers |= deep.named("grad", gradients(learner, batch), places)
    training = train_config(case, epochs=int(case.hyper["steps"]), batch_size=len(batch))
    steps = trace(learner, OneBatch(batch), training)
    answers |= deep.after_steps(steps, places)
    return answers | {"loss_steps": torch.stack(steps.losses), "logits_final": learner.predict(batch)}
