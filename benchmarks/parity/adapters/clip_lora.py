"""CLIP-LoRA by MaxZanella/CLIP-LoRA's lora.py and loralib, without dropout."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.parity.case import Case
from benchmarks.parity.compare import Answer
from benchmarks.parity.models import Models
from benchmarks.parity.training import Trace, above_noise, batch_of, in_order, trace, train_config
from vlprompt.learners import CLIPLoRA, CLIPLoRAConfig

METHOD = r"clip-lora.*"
INPUTS = ("classnames", "images", "labels", "test_images", r"init\..*")
PARTS = {"A": "down", "B": "up"}


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Scores before training, every step, and features at the end."""
    hyper, clip, size = case.hyper, models.clip, int(case.hyper["batch"])
    learner = build(case, models)
    whole = batch_of(clip, learner, case.tensor("images"), case.tensor("labels"))
    with torch.no_grad():
        answers: dict[str, Any] = {"logits_first": learner(whole.part(torch.arange(size)))}
    count = int(hyper["steps"])
    config = replace(train_config(case, epochs=count, batch_size=size), steps=count)
    steps = trace(learner, in_order(whole, size, int(hyper["batches_per_epoch"])), config)
    for theirs, ours in PARTS.items():
        answers |= _of_part(theirs, ours, steps, case)
    test = batch_of(clip, learner, case.tensor("test_images"))
    with torch.no_grad():
        return (
            answers
            | steps.per_step()
            | {
                "text_features_final": learner.text()[0],
                "image_features_final": learner.image_features(test),
                "logits_test_cosines": learner.predict(test) / learner.scale(),
            }
        )


def build(case: Case, models: Models) -> CLIPLoRA:
    """The learner with the case's matrices."""
    hyper = case.hyper
    config = CLIPLoRAConfig(
        rank=int(hyper["r"]), alpha=hyper["alpha"], dropout=0.0, towers=hyper["encoder"], template=hyper["template"]
    )
    learner = CLIPLoRA(models.clip, case.words("classnames"), config)
    start = {theirs: case.tensor(f"init.{theirs}") for theirs in PARTS}
    tensors = {
        f"layers.{i}.{ours}": start[theirs][i] for theirs, ours in PARTS.items() for i in range(len(learner.layers))
    }
    learner.restore(tensors, case.file)
    return learner


def _of_part(theirs: str, ours: str, steps: Trace, case: Case) -> dict[str, Tensor | Answer]:
    """A of all layers, or B, after the steps; and its first and last gradients.

    A's first gradient is 0 where B starts at 0, so rounding decides A's first move by the second gradient.
    """
    names = [f"layers.{i}.{ours}" for i in range(len(case.array("init.A")))]
    gradient, later, last = (torch.stack([steps.gradients[i][name] for name in names]) for i in (0, 1, -1))
    states = torch.stack([steps.stacked(name) for name in names], dim=1)
    first = gradient if gradient.any() else later
    return {
        f"grad.{theirs}": gradient,
        f"grad.{theirs}_last": last,
        f"{theirs}_steps": above_noise(states[: len(case.array(f"{theirs}_steps"))], first),
        f"{theirs}_final": above_noise(states[-1], first),
    }
