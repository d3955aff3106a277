"""PET's ensemble and its student: pet/modeling.py, merge_logits_lists; pet/utils.py, distillation_loss."""

from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from vlprompt.cloze.parts.distilled import distillation_loss
from vlprompt.cloze.parts.ensemble import Votes

METHOD = r"PET ensemble merging and distillation loss"
INPUTS = ("member_logits", "member_scores", "predictions")


def replay(case: Case, models: Models) -> Mapping[str, Any]:  # noqa: ARG001
    """Merged scores; soft labels, the loss and its gradient at every temperature."""
    logits, weights = case.tensor("member_logits"), case.tensor("member_scores")
    merged = Votes(logits, weights).merge()
    answers = {"merged_wmean": merged, "merged_mean": Votes(logits, torch.ones_like(weights)).merge()}
    for temperature in case.hyper["temperatures"]:
        student = case.tensor("predictions").requires_grad_()
        loss = distillation_loss(student, merged, float(temperature))
        (gradient,) = torch.autograd.grad(loss, student)
        answers |= {
            f"soft_labels_T{temperature}": (merged / temperature).softmax(-1),
            f"loss_T{temperature}": loss,
            f"grad_T{temperature}": gradient,
        }
    return answers
