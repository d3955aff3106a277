"""Which words of a vocabulary name some classes best: searches on states at the blank that are known already."""

from collections.abc import Iterator
from itertools import islice, product

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.errors import UsageError

MOST = 10**6  # assignments that are tried
AT_ONCE = 4096


def usable(lm: LanguageModel) -> Tensor:
    """(W,) ids that can be label words: whole words of letters, behind a space, that the head scores.

    Raises:
        UsageError: The vocabulary has none.
    """
    ids = [piece for piece in lm.vocabulary.whole_words if piece < lm.vocabulary_size]
    if not ids:
        raise UsageError(f"the vocabulary of {lm.name} has no whole words of letters, so label words cannot be found.")
    return torch.tensor(ids, device=lm.device)


def likely(lm: LanguageModel, states: Tensor, labels: Tensor, classes: int, count: int) -> Tensor:
    """(C, k) ids of the words that score highest on each class's texts, on average; at most `count`, best first.

    Gao et al., ACL 2021 (arXiv:2012.15723), section 5.1: the top k of the sum of log p(word | text). The mean of the
    scores has the same order, and is the score of the mean state.

    Args:
        lm: The model.
        states: (N, E) what it says at the blank of N texts, see `LanguageModel.readout`.
        labels: (N,) their classes.
        classes: C.
        count: k.

    Raises:
        UsageError: A class has no text.
    """
    if missing := sorted(set(range(classes)) - set(labels.tolist())):
        raise UsageError(f"class {missing[0]} has no training text, so no words can be found for it; give it one.")
    words = usable(lm)
    means = torch.stack([states[labels == label].mean(0) for label in range(classes)])  # (C, E)
    scores = lm.words_of(means, words)  # (C, W)
    return words[scores.topk(min(count, len(words)), dim=1).indices]


def assignments(scores: Tensor, ids: Tensor, labels: Tensor, keep: int) -> Tensor:
    """(n, C) places of the words of the best assignments, one word a class, best first; at most `keep`.

    Gao et al. 2021, section 5.1: every combination of the candidates, by zero-shot accuracy on the training texts.
    Equal ones (with 32 texts there are many) stand by their cross-entropy here. With many classes only the first few
    candidates of each are combined, so that no more than a million assignments are tried.

    Args:
        scores: (N, C, k) of the k candidates of each class.
        ids: (C, k) the candidates; one word never names two classes.
        labels: (N,) right classes.
        keep: How many to give.

    Raises:
        UsageError: No assignment gives every class a word of its own.
    """
    count, wide = scores.shape[1:]
    while wide > 1 and wide**count > MOST:
        wide -= 1
    judged, places = [], []
    for some in _parts(count, wide, scores.device):
        own = scores[:, torch.arange(count), some]  # (N, M, C)
        found = F.cross_entropy(own.permute(0, 2, 1), labels[:, None].expand(-1, len(some)), reduction="none").mean(0)
        accuracy = (own.argmax(2) == labels[:, None]).to(torch.float64).mean(0)
        words = ids[torch.arange(count), some].sort(dim=1).values
        accuracy[(words.diff(dim=1) == 0).any(1)] = -1.0  # a word that names two classes
        order = _best_first(accuracy, found)[:keep]
        judged.append(torch.stack([accuracy[order], found[order].to(torch.float64)]))
        places.append(some[order])
    accuracy, found = torch.cat(judged, dim=1)
    best = _best_first(accuracy, found)
    best = best[accuracy[best] >= 0][:keep]
    if not len(best):
        raise UsageError(f"{wide} candidates a class do not give {count} classes words of their own; take more.")
    return torch.cat(places)[best]


def ratios(log_probs: Tensor, own: Tensor) -> Tensor:
    """(K,) balanced log-likelihood ratios of K words for a class.

    Schick et al., COLING 2020 (arXiv:2010.13641), equations 5 and 7: each word as a yes-or-no model of the class,
    sum over its texts of log p / (1 - p), less (n_class / n_other) times the same sum over the other texts.

    Args:
        log_probs: (N, K) log-probabilities, over the whole vocabulary, of the words at the blank.
        own: (N,) bool, the texts of the class.
    """
    exact = log_probs.to(torch.float64).clamp_max(-1e-12)
    odds = exact - torch.log(-torch.expm1(exact))  # (N, K): log p - log(1 - p)
    others = (~own).sum().clamp_min(1)
    return odds[own].sum(0) - own.sum() / others * odds[~own].sum(0)


def log_probs_of(lm: LanguageModel, states: Tensor, words: Tensor) -> Tensor:
    """(N, K) log-probabilities of (K,) words over the whole vocabulary, a few texts at a time."""
    every = torch.arange(lm.vocabulary_size, device=lm.device)
    return torch.cat([lm.words_of(some, every).log_softmax(-1)[:, words] for some in torch.split(states, 64)])


def _parts(count: int, wide: int, device: torch.device) -> Iterator[Tensor]:
    """Every combination of `wide` places for `count` classes, (M, C) at a time."""
    every = product(range(wide), repeat=count)
    while some := list(islice(every, AT_ONCE)):
        yield torch.tensor(some, device=device)


def _best_first(accuracy: Tensor, found: Tensor) -> Tensor:
    """(M,) order by accuracy, then by cross-entropy, then as they come."""
    by_loss = found.argsort(stable=True)
    return by_loss[accuracy[by_loss].argsort(stable=True, descending=True)]
