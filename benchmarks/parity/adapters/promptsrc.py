"""PromptSRC: a short training with its averaged prompts, by PromptSRC's trainers/promptsrc.py and clip/model.py.

The frozen text features are compared where the model has token embeddings for the templates' words. The tiny CLIP of
the goldens has substitutes for words that only these templates use (64 repeated rows), so their mean differs from the
stored one; then the stored one is an input, and everything else is replayed from it.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.parity import deep
from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from benchmarks.parity.training import OneBatch, batch_of, gradients, trace, train_config
from vlprompt.backbones import Clip
from vlprompt.data.batch import Batch, images_of
from vlprompt.learners.promptsrc import PromptSRC, PromptSRCConfig

METHOD = r"promptsrc.*"
FROZEN = "fixed_embeddings"
INPUTS = (*deep.INPUTS, "templates", FROZEN)


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Everything from the frozen features to the averaged prompts at the end of `fit`."""
    clip = models.clip
    learner = PromptSRC(clip, case.words("classnames"), configured(case))
    answers, places = deep.begin_independent(case, learner)
    batch = batch_of(clip, learner, case.tensor("images"), case.tensor("labels"))
    if FROZEN not in case.arrays or has_embeddings(clip, case):
        answers[FROZEN] = learner.frozen_text()
    else:
        learner.frozen = case.tensor(FROZEN)
    answers |= at_the_start(clip, learner, batch)
    answers |= deep.named("grad", gradients(learner, batch), places)
    epochs = int(case.hyper["epochs"])
    steps = trace(learner, OneBatch(batch), train_config(case, epochs=epochs, batch_size=len(batch)))
    answers |= deep.after_steps(steps, places) | deep.named("gpa", learner.trainable(), places)
    return answers | {
        "loss_steps": torch.stack(steps.losses),
        "lr_epochs": torch.tensor(steps.rates, dtype=torch.float64),
        "gauss_weights_f64": torch.tensor(learner.epoch_weights(epochs), dtype=torch.float64),
        "logits_gpa": learner.predict(batch),
    }


def configured(case: Case) -> PromptSRCConfig:
    """The configuration of a case."""
    hyper = case.hyper
    return PromptSRCConfig(
        **deep.settings(case),
        text_weight=float(hyper["text_loss_weight"]),
        image_weight=float(hyper["image_loss_weight"]),
        gpa_mean=float(hyper["gpa_mean"]),
        gpa_std=float(hyper["gpa_std"]),
        templates=tuple(case.words("templates")) if "templates" in case.arrays else (),
    )


def has_embeddings(clip: Clip, case: Case) -> bool:
    """Whether every token of the templates has an embedding that no other token has."""
    table = clip.token_embedding.get_parameter("weight")
    _, row, count = torch.unique(table, dim=0, return_inverse=True, return_counts=True)
    used = {piece for text in case.words("templates") for piece in clip.tokenizer.pieces(text.replace("{}", ""))}
    chosen = torch.tensor(sorted(used))
    return bool((count[row[chosen]] == 1).all() and table[chosen].isfinite().all())


@torch.no_grad()
def at_the_start(clip: Clip, learner: PromptSRC, batch: Batch) -> dict[str, Any]:
    """Features, scores and the terms of the loss before the first step."""
    frozen = clip.encode_image(images_of(batch))
    terms = learner.losses(batch)
    return {
        "logits": learner.predict(batch),
        "text_features_norm": F.normalize(learner.text()[0], dim=-1),
        "image_features_norm": F.normalize(learner.image_features(batch), dim=-1),
        "zero_shot_image_features_norm": F.normalize(frozen, dim=-1),
        "zero_shot_logits": clip.scores(frozen, learner.frozen_text()),
        "loss_ce": terms["ce"],
        "loss_scl_text": terms["text"],
        "loss_scl_image": terms["image"],
        "loss_scl_logits": terms["scores"],
        "loss": learner.loss(batch),
    }
