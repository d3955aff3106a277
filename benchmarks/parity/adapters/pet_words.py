"""PET's label words of several pieces: pet/task_helpers.py, MultiMaskTaskHelper."""

from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.parity.adapters.pet_several_blanks import ORDERS
from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from benchmarks.parity.texts import batch_of_pairs
from vlprompt.cloze import PromptOrientedFineTuning, PromptOrientedFineTuningConfig

METHOD = r"label words of several pieces \(PET, MultiMaskTaskHelper\)"
INPUTS = ("input_ids", "attention_mask", "labels", "choice_token_ids")


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Log-probabilities of the words for each order of filling blanks, and the loss of training."""
    lm, words = models.lm(case.backbone), case.hyper["label_words"]
    template = str(case.hyper["pattern"]).replace("[MASK]", "{mask}")
    batch, answers = batch_of_pairs(case.hyper["texts"]), {}
    for name, order in ORDERS.items():
        config = PromptOrientedFineTuningConfig(template, words, pieces=order)
        learner = PromptOrientedFineTuning(lm, words, config).eval()
        answers[f"log_probs_{name}"] = learner.predict(batch)
        with torch.no_grad():
            answers["hinge_loss"] = learner.loss(batch)
            alone = [learner.loss(batch.part(torch.tensor([row]))) for row in range(len(batch))]
        answers["hinge_loss_each"] = torch.stack(alone)
    return answers
