"""Contextual calibration: run_classification.py of Zhao et al."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from benchmarks.parity.texts import classes_of
from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.sequences import Sequences
from vlprompt.cloze import calibration
from vlprompt.cloze.verbalizer import Verbalizer

METHOD = r"contextual calibration.*"
INPUTS = ("prompt_ids", "content_free_ids", "test_labels")


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Probabilities of the label words, the content-free prior, and scores calibrated both ways."""
    lm = models.lm(case.backbone)
    words = [case.hyper["label_words"][label] for label in sorted(case.hyper["label_words"], key=int)]
    verbalizer = Verbalizer(lm, classes_of(words), words, rule="logsumexp")
    answers, free = (_log_probs(lm, case.tensor(name)) for name in ("prompt_ids", "content_free_ids"))
    scores = verbalizer(answers[:, verbalizer.ids])
    prior = calibration.content_free(verbalizer, free)
    each = torch.stack([calibration.content_free(verbalizer, one[None]) for one in free])
    divided = calibration.divided(scores, prior).exp()  # theirs is not normalised either
    found = {"none": scores.softmax(-1), "diagonal": divided, "identity": calibration.subtracted(scores, prior)}
    labels = case.tensor("test_labels")
    return {
        "label_probs": scores.exp(),
        "p_cf": prior,
        "p_cf_each": each,
        **{f"scores_{name}": value for name, value in found.items()},
        **{f"acc_{name}": (value.argmax(1) == labels).double().mean() for name, value in found.items()},
    }


def _log_probs(lm: LanguageModel, ids: Tensor) -> Tensor:
    """(N, V) after the last token of rows of ids, -1 where there is none."""
    mask = (ids >= 0).long()
    texts = Sequences(ids.clamp_min(0), mask, mask.sum(1) - 1)
    return calibration.log_probs(lm.scores(texts, torch.arange(lm.vocabulary_size)))
