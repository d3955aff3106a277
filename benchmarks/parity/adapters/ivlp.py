"""IVLP: a few steps on one batch, by multimodal-prompt-learning's trainers/independentVL.py and clip/model.py."""

from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.parity import deep
from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from benchmarks.parity.training import batch_of, gradients, trace, train_config
from vlprompt.learners.ivlp import IVLP, IVLPConfig

METHOD = r"ivlp.*"
INPUTS = deep.INPUTS


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Everything from the ids to the learned tensors after some steps of `fit`."""
    clip, config = models.clip, configured(case)
    learner = IVLP(clip, case.words("classnames"), config)
    answers = deep.texts(case, clip, learner.prompts.layout)
    if config.words and learner.prompts.text is not None:
        answers["init.prompt_learner.ctx"] = learner.prompts.text.detach()[0].clone()
    places = deep.independent(config.depth_text, config.depth_vision)
    deep.begin(case, learner, places)
    batch = batch_of(clip, learner, case.tensor("images"), case.tensor("labels"))
    assert batch.images is not None
    with torch.no_grad():
        answers |= {"text_features": learner.text()[0]}
        answers |= {"image_features": learner.prompts.encode_image(clip, batch.images)}
        answers |= {"logits": learner.predict(batch), "loss": learner.loss(batch)}
    answers |= deep.named("grad", gradients(learner, batch), places)
    training = train_config(case, epochs=int(case.hyper["steps"]), batch_size=len(batch))
    steps = trace(learner, deep.OneBatch(batch), training)
    answers |= deep.after_steps(steps, places)
    return answers | {"loss_steps": torch.stack(steps.losses), "logits_final": learner.predict(batch)}


def configured(case: Case) -> IVLPConfig:
    """The configuration of a case."""
    hyper = case.hyper
    return IVLPConfig(
        n_text=int(hyper["n_ctx_text"]),
        depth_text=int(hyper["prompt_depth_text"]),
        n_vision=int(hyper["n_ctx_vision"]),
        depth_vision=int(hyper["prompt_depth_vision"]),
        words=str(hyper.get("ctx_init") or ""),
    )
