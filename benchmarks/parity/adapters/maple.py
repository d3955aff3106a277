"""MaPLe: a few steps on one batch, by multimodal-prompt-learning's trainers/maple.py and clip/model.py.

`logits_fp16_prompts` has prompts rounded to fp16; here prompts are fp32, so it is not replayed.
"""

from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.parity import deep
from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from benchmarks.parity.training import OneBatch, batch_of, gradients, trace, train_config
from vlprompt.backbones import Clip
from vlprompt.learners.maple import MaPLe, MaPLeConfig

METHOD = r"maple.*"
INPUTS = (*deep.INPUTS, "logits_fp16_prompts")


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Everything from the ids to the trainable tensors after some steps of `fit`."""
    clip, places = models.clip, official(int(case.hyper["prompt_depth"]))
    learner = build(case, clip)
    answers = deep.texts(case, clip, learner.layout)
    if case.hyper.get("ctx_init"):
        answers["init.prompt_learner.ctx"] = learner.prompts.detach()[0].clone()
    deep.begin(case, learner, places)
    batch = batch_of(clip, learner, case.tensor("images"), case.tensor("labels"))
    with torch.no_grad():
        answers |= {"text_features": learner.text()[0], "image_features": learner.image_features(batch)}
        answers |= {"logits": learner.predict(batch), "loss": learner.loss(batch)}
    answers |= deep.named("grad", gradients(learner, batch), places)
    config = train_config(case, epochs=int(case.hyper["steps"]), batch_size=len(batch))
    steps = trace(learner, OneBatch(batch), config)
    answers |= deep.after_steps(steps, places)
    return answers | {"loss_steps": torch.stack(steps.losses), "logits_final": learner.predict(batch)}


def build(case: Case, clip: Clip) -> MaPLe:
    """The learner of a case with its own initialisation."""
    hyper = case.hyper
    words = str(hyper.get("ctx_init") or "")
    config = MaPLeConfig(n_ctx=int(hyper["n_ctx"]), depth=int(hyper["prompt_depth"]), words=words)
    return MaPLe(clip, case.words("classnames"), config)


def official(depth: int) -> deep.Places:
    """The places of the official tensors in ours."""
    places: dict[str, tuple[str, int | None]] = {"prompt_learner.ctx": ("prompts", 0)}
    for layer in range(depth):
        if layer:
            places[f"prompt_learner.compound_prompts_text.{layer - 1}"] = ("prompts", layer)
        coupling = f"compound_prompt_projections.{layer - 1}" if layer else "proj"
        for part in ("weight", "bias"):
            places[f"prompt_learner.{coupling}.{part}"] = (f"couplings.{layer}.{part}", None)
    return places
