"""What a prompt answers to nothing, and taking it out of what it answers to something.

Zhao et al., ICML 2021 (arXiv:2102.09690): q'(y|x) is proportional to q(y|x) / p_cf(y), where p_cf is the mean answer to
content-free inputs. It depends on the prompt only, so it is computed once.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vlprompt.cloze.verbalizer import Verbalizer

CONTENT_FREE = ("N/A", "", "[MASK]")  # tonyzhaozh/few-shot-learning, run_classification.py


def content_free(verbalizer: Verbalizer, log_probs: Tensor) -> Tensor:
    """The prior p_cf (C,), from the vocabulary's log-probabilities for content-free inputs.

    Probabilities of classes are averaged before they are normalised, as in the authors' get_p_content_free.

    Args:
        verbalizer: It makes classes of words.
        log_probs: (N, V) log-softmax over the whole vocabulary at the blank of N content-free inputs.
    """
    words = verbalizer.words(log_probs[:, verbalizer.ids])
    rule = verbalizer.classes if verbalizer.rule == "logsumexp" else verbalizer.mean
    mean = rule(words).exp().mean(0)
    return mean / mean.sum()


def divided(scores: Tensor, prior: Tensor) -> Tensor:
    """Class scores (B, C) whose softmax is q / p_cf, normalised (the paper's diagonal W)."""
    return scores.log_softmax(-1) - prior.log()


def subtracted(scores: Tensor, prior: Tensor) -> Tensor:
    """Class scores (B, C) that are q - p_cf (the paper's identity W); no probabilities."""
    return scores.softmax(-1) - prior


def words_divided(verbalizer: Verbalizer, words: Tensor, empty: Tensor) -> Tensor:
    """Class scores (B, C) after dividing every label word's probability by the one it has without content.

    OpenPrompt's own way (ManualVerbalizer.calibrate): over label words, not over classes.

    Args:
        verbalizer: It makes classes of words.
        words: (B, W) scores of the label words.
        empty: (W,) their mean scores for inputs without content.
    """
    fair = (words.log_softmax(-1) - empty.log_softmax(-1)).log_softmax(-1)
    return verbalizer.classes(fair)


def filled(fields: Sequence[str], fillers: Sequence[str] = CONTENT_FREE) -> list[dict[str, str]]:
    """Content-free examples: every field says the same nothing."""
    return [dict.fromkeys(fields, each) for each in fillers]


def log_probs(scores: Tensor) -> Tensor:
    """(N, V) scores of the whole vocabulary -> log-probabilities, in float64: a sum over 50,000 words loses digits."""
    return scores.to(torch.float64).log_softmax(-1).to(scores.dtype)
