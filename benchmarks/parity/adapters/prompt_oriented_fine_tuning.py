"""PET's scoring of a pattern and its loss: pet/pvp.py, pet/wrapper.py."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from vlprompt.backbones.lm_inputs import Sequences
from vlprompt.cloze import PromptOrientedFineTuning, PromptOrientedFineTuningConfig

METHOD = r"PET \(.*\), pattern-verbalizer scoring"
INPUTS = ("input_ids", "attention_mask", "token_type_ids", "mlm_labels", "labels", "lm_input_ids", "lm_labels")
NORMS = ("bert.embeddings.LayerNorm.weight", "roberta.embeddings.LayerNorm.weight", "transformer.ln_f.weight")


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Class scores, the loss with and without masked language modelling, and a gradient inside the model."""
    lm, labels = models.lm(case.backbone), [str(label) for label in case.hyper["labels"]]
    words = tuple(tuple(case.hyper["verbalizer"][label]) for label in labels)
    config = PromptOrientedFineTuningConfig("{text} {mask}", words, alpha=float(case.hyper["alpha"]))
    learner = PromptOrientedFineTuning(lm, labels, config).eval()
    read = (case.tensor("mlm_labels") == 1).long().argmax(1)
    ids, mask = case.tensor("input_ids"), case.tensor("attention_mask")
    texts = Sequences(ids, mask, read, segments=case.tensor("token_type_ids"))
    logits = learner.verbalizer(learner.lm.scores(texts, learner.verbalizer.ids))
    loss = F.cross_entropy(logits, case.tensor("labels"))
    parameters = dict(learner.lm.model.named_parameters())
    norm = next(parameters[name] for name in NORMS if name in parameters)
    (gradient,) = torch.autograd.grad(loss, norm, retain_graph=True)
    longest = max(len(own) for own in words)
    first = [[lm.vocabulary.pieces(" " + word)[0] for word in own] for own in words]
    answers = {
        "verbalizer_ids": torch.tensor([row + [-1] * (longest - len(row)) for row in first]),
        "cls_logits": logits,
        "loss": loss,
        "grad_norm_weight": gradient,
    }
    if "lm_input_ids" in case.arrays:
        masked = Sequences(case.tensor("lm_input_ids"), mask, read, segments=case.tensor("token_type_ids"))
        other = learner.masked_words_loss(masked, case.tensor("lm_labels"))
        answers["loss_with_lm"] = config.alpha * loss + (1 - config.alpha) * other
    return answers
