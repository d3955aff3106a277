"""Contextual calibration: a prompt's scores divided by its scores of content-free inputs.

Zhao et al., ICML 2021 (arXiv:2102.09690): q'(y|x) is proportional to q(y|x) / p_cf(y), where p_cf is the mean answer to
content-free inputs. It depends on the prompt only, so it is computed once.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vlprompt.cloze.parts.verbalizer import Verbalizer

CONTENT_FREE = ("N/A", "", "[MASK]")  # tonyzhaozh/few-shot-learning, run_classification.py


def content_free_prior(verbalizer: Verbalizer, log_probs: Tensor) -> Tensor:
    """The prior p_cf (C,), from the vocabulary's log-probabilities for content-free inputs.

    Probabilities of classes are averaged before they are normalised, as in the authors' get_p_content_free.

    Args:
        verbalizer: Its rule makes scores of classes from those of words.
        log_probs: (N, V) log-softmax over the whole vocabulary at the blank of N content-free inputs.
    """
    words = verbalizer.words(log_probs[:, verbalizer.ids])
    rule = verbalizer.classes if verbalizer.rule == "logsumexp" else verbalizer.mean
    mean = rule(words).exp().mean(0)
    return mean / mean.sum()


def divide(scores: Tensor, prior: Tensor) -> Tensor:
    """Class scores (B, C) whose softmax is q / p_cf, normalised (the paper's diagonal W)."""
    return scores.log_softmax(-1) - prior.log()


def subtract(scores: Tensor, prior: Tensor) -> Tensor:
    """Class scores (B, C) that are q - p_cf (the paper's identity W); they are no probabilities."""
    return scores.softmax(-1) - prior


def divide_words(verbalizer: Verbalizer, words: Tensor, empty: Tensor) -> Tensor:
    """Class scores (B, C) after dividing every label word's probability by its content-free one.

    OpenPrompt's calibration (ManualVerbalizer.calibrate): over label words, not over classes.

    Args:
        verbalizer: Its rule makes scores of classes from those of words.
        words: (B, W) scores of the label words.
        empty: (W,) their mean scores for content-free inputs.
    """
    return verbalizer.classes((words.log_softmax(-1) - empty.log_softmax(-1)).log_softmax(-1))


def content_free_examples(fields: Sequence[str], fillers: Sequence[str] = CONTENT_FREE) -> list[dict[str, str]]:
    """One example for each filler, which is the text of all its fields."""
    return [dict.fromkeys(fields, each) for each in fillers]


def log_probs(scores: Tensor) -> Tensor:
    """(N, V) scores of the whole vocabulary -> log-probabilities, in float64: a sum over 50,000 words loses digits."""
    return scores.to(torch.float64).log_softmax(-1).to(scores.dtype)
