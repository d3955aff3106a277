"""Searches for label words: LM-BFF's src/label_search.py, and PET's petal.py."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.parity.case import Case
from benchmarks.parity.compare import Answer
from benchmarks.parity.models import Models
from benchmarks.parity.texts import batch_of_pairs
from vlprompt.cloze import LabelWords, LabelWordsConfig
from vlprompt.cloze.parts.word_search import best_assignments, likelihood_ratios, likely_words, log_probs_of
from vlprompt.data.batch import Batch

METHOD = r"LM-BFF label word search \(.*\)|automatic verbalizer search \(.*\)"
INPUTS = ("labels", "candidates")
TEMPLATE = "{text} It was {mask}."
BEHIND_SPACE = "\u0120"  # starts the words of RoBERTa that follow a space; the official search has no other condition


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """The words that each search finds, with their scores."""
    lm, batch = models.lm(case.backbone), batch_of_pairs(case.hyper["texts"])
    config = LabelWordsConfig(TEMPLATE, search="avs" if "candidates" in case.arrays else "lm-bff")
    learner = LabelWords(lm, ["0", "1"], config)
    ids = learner.sequences(batch).ids
    width = case.array("ids").shape[1]
    answers = {"ids": F.pad(ids, (0, width - ids.shape[1]), value=lm.vocabulary.pad)}
    search = _by_ratio if config.search == "avs" else _by_accuracy
    return answers | search(case, learner, batch)


@torch.no_grad()
def _by_ratio(case: Case, learner: LabelWords, batch: Batch) -> dict[str, Any]:
    """Ratios of all candidates, and the best words of each class among some."""
    lm, states, labels = learner.backbone, learner.states(batch), batch.labels
    words = case.tensor("candidates")
    log_probs = log_probs_of(lm, states, words)
    answers: dict[str, Any] = {"scores": torch.stack([likelihood_ratios(log_probs, labels == each) for each in (0, 1)])}
    for some in case.hyper["num_candidates"]:
        count = int(case.hyper["words_per_label"])
        config = LabelWordsConfig(TEMPLATE, search="avs", candidates=int(some), count=count)
        answers[f"words_{some}"] = LabelWords(lm, learner.classes, config).by_ratio(states, labels, words)
    return answers


@torch.no_grad()
def _by_accuracy(case: Case, learner: LabelWords, batch: Batch) -> dict[str, Any]:
    """The likeliest words of each class, and the best pairs of them."""
    lm, states, labels = learner.backbone, learner.states(batch), batch.labels
    every = torch.arange(lm.vocabulary_size)
    shown = lm.vocabulary.shown(every.tolist())
    words_of_text = every[torch.tensor([word.startswith(BEHIND_SPACE) for word in shown])]
    letters = every[torch.tensor([word.startswith(BEHIND_SPACE) and word[1:].isalpha() for word in shown])]
    answers: dict[str, Any] = {"logits": _as_half(lm.scores_of(states, every), case.array("logits"))}
    for some in (8, 20):
        words = likely_words(lm, states, labels, 2, some, letters)
        answers[f"likely_k{some}"] = likely_words(lm, states, labels, 2, some, words_of_text)
        answers[f"likely_letters_k{some}"] = words
        scores = lm.scores_of(states, words.flatten()).reshape(len(states), *words.shape)
        places = best_assignments(scores, words, labels, words.numel() ** 2)
        pairs = words.gather(1, places.T).T
        answers |= _pairs(case, some, pairs, learner.accuracy(pairs, states, labels))
    return answers


def _pairs(case: Case, some: int, pairs: Tensor, accuracy: Tensor) -> dict[str, Answer]:
    """The pairs of different words, and those that are better than the worst stored ones; ties have no order there."""
    stored, found = case.array(f"pairs_letters_k{some}"), case.array(f"pairs_acc_k{some}")
    different = stored[:, 0] != stored[:, 1]
    better, own = different & (found > found.min()), accuracy.numpy() > found.min()
    return {
        f"pairs_letters_k{some}": Answer(
            np.unique(pairs.numpy()[own], axis=0), np.unique(stored[better], axis=0), note="pairs above the worst"
        ),
        f"pairs_acc_k{some}": Answer(
            accuracy.numpy()[: different.sum()], found[different], note="pairs of different words"
        ),
    }


def _as_half(ours: Tensor, stored: Any) -> Answer:
    """Our scores, where they differ from stored float16 by more than its rounding; else the stored ones."""
    exact = stored.astype(np.float64)
    near = np.abs(ours.double().numpy() - exact) <= np.spacing(np.abs(stored)).astype(np.float64) / 2 + 1e-5
    return Answer(np.where(near, exact, ours.double().numpy()), note="up to the rounding of float16")
