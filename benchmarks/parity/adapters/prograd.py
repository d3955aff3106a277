"""ProGrad by BeierZhu/Prompt-align's trainers/prograd.py: both gradients, their projection, and some epochs.

The code learns as many tokens of the template as it has words, which is replayed by `reference_quirks`.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from benchmarks.parity.training import batch_of, in_order, trace, train_config
from vlprompt.data.batch import Batch, features_of
from vlprompt.learners import ProGrad, ProGradConfig

METHOD = r"prograd.*"
INPUTS = ("classnames", "images", "labels", "tokenized_prompts")


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """The context at the start, the features, both gradients, and every step."""
    hyper, clip = case.hyper, models.clip
    config = ProGradConfig(
        n_ctx=int(hyper["n_ctx"]),
        template=str(hyper["template"]),
        strength=float(hyper["lambda"]),
        temperature=float(hyper["T"]),
        reference_quirks=True,
    )
    learner = ProGrad(clip, case.words("classnames"), config)
    whole, size = batch_of(clip, learner, case.tensor("images"), case.tensor("labels")), int(hyper["batch"])
    first = whole.part(torch.arange(size))
    with torch.no_grad():
        answers = {
            "ctx_init": learner.context.clone(),
            "text_features": learner.text()[0],
            "frozen_text_features": learner.frozen,
            "logits_zero_shot": clip.scores(features_of(first), learner.frozen),
            "logits": learner.predict(first),
        }
    _, answers["grad_xe"], answers["grad_kl"] = learner.gradients(first)
    data = in_order(whole, size, int(hyper["batches_per_epoch"]))
    divergences, conflicts = _recorded(learner)
    steps = trace(learner, data, train_config(case, epochs=int(hyper["epochs"]), batch_size=size))
    used = torch.stack([each["context"] for each in steps.gradients])
    return (
        answers
        | steps.per_step()
        | {
            "grad_ctx": used[0],
            "grad_ctx_steps": used,
            "kl_loss_steps": torch.stack(divergences),
            "conflict_steps": torch.stack(conflicts),
            "ctx_steps": steps.stacked("context"),
            "logits_final": learner.predict(first),
        }
    )


def _recorded(learner: ProGrad) -> tuple[list[Tensor], list[Tensor]]:
    """Lists that training fills: the divergence of every step, and whether the two gradients point apart."""
    divergences: list[Tensor] = []
    conflicts: list[Tensor] = []
    divergence, gradients = learner.divergence, learner.gradients

    def recording_divergence(scores: Tensor, batch: Batch) -> Tensor:
        divergences.append(divergence(scores, batch).detach())
        return divergence(scores, batch)

    def recording_gradients(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        loss, own, general = gradients(batch)
        conflicts.append(((own * general).sum() < 0).int())
        return loss, own, general

    learner.divergence = recording_divergence  # type: ignore[method-assign]
    learner.gradients = recording_gradients  # type: ignore[method-assign]
    return divergences, conflicts
