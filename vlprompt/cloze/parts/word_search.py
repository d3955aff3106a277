"""Search for label words: which words of a vocabulary name some classes best, given the states at the blank."""

from collections.abc import Iterator
from itertools import islice, product

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.errors import UsageError

MAX_ASSIGNMENTS = 10**6  # that are tried
AT_ONCE = 4096


def usable_words(lm: LanguageModel) -> Tensor:
    """(W,) ids that can be label words: whole words of letters, after a space, that the head scores.

    Raises:
        UsageError: The vocabulary has none.
    """
    ids = [piece for piece in lm.vocabulary.whole_words if piece < lm.vocabulary_size]
    if not ids:
        raise UsageError(f"the vocabulary of {lm.name} has no whole words of letters, so label words cannot be found.")
    return torch.tensor(ids, device=lm.device)


def likely_words(
    lm: LanguageModel, states: Tensor, labels: Tensor, classes: int, count: int, among: Tensor | None = None
) -> Tensor:
    """(C, k) ids of the words with the highest mean score on each class's texts, best first; at most `count`.

    Gao et al., ACL 2021 (arXiv:2012.15723), section 5.1: the top k of the sum of log p(word | text). The mean of the
    scores has the same order, and is the score of the mean state.

    Args:
        lm: The model.
        states: (N, E) of N texts, see `LanguageModel.readout`.
        labels: (N,) their classes.
        classes: C.
        count: k.
        among: (W,) ids of the words to choose from; None: all `usable_words`.

    Raises:
        UsageError: A class has no text.
    """
    if missing := sorted(set(range(classes)) - set(labels.tolist())):
        raise UsageError(f"class {missing[0]} has no training text, so no words can be found for it; give it one.")
    words = usable_words(lm) if among is None else among
    means = torch.stack([states[labels == label].mean(0) for label in range(classes)])  # (C, E)
    scores = lm.scores_of(means, words)  # (C, W)
    return words[scores.topk(min(count, len(words)), dim=1).indices]


def best_assignments(scores: Tensor, ids: Tensor, labels: Tensor, keep: int) -> Tensor:
    """(n, C) positions of the words of the best assignments, one word a class, best first; at most `keep`.

    Gao et al. 2021, section 5.1: every combination of the candidates, by zero-shot accuracy on the training texts.
    Equal ones (with 32 texts there are many) are ordered by cross-entropy here. With many classes only the first few
    candidates of each are combined, so that at most a million assignments are tried.

    Args:
        scores: (N, C, k) of the k candidates of each class.
        ids: (C, k) the candidates; no assignment uses a word twice.
        labels: (N,) right classes.
        keep: Maximal number of assignments.

    Raises:
        UsageError: No assignment gives every class a word of its own.
    """
    count, wide = scores.shape[1:]
    while wide > 1 and wide**count > MAX_ASSIGNMENTS:
        wide -= 1
    quality, places = [], []
    for some in _combinations(count, wide, scores.device):
        own = scores[:, torch.arange(count), some]  # (N, M, C)
        loss = F.cross_entropy(own.permute(0, 2, 1), labels[:, None].expand(-1, len(some)), reduction="none").mean(0)
        accuracy = (own.argmax(2) == labels[:, None]).to(torch.float64).mean(0)
        words = ids[torch.arange(count), some].sort(dim=1).values
        accuracy[(words.diff(dim=1) == 0).any(1)] = -1.0  # a word that names two classes
        order = _best_first(accuracy, loss)[:keep]
        quality.append(torch.stack([accuracy[order], loss[order].to(torch.float64)]))
        places.append(some[order])
    accuracy, loss = torch.cat(quality, dim=1)
    best = _best_first(accuracy, loss)
    best = best[accuracy[best] >= 0][:keep]
    if not len(best):
        raise UsageError(f"{wide} candidates a class do not give {count} classes words of their own; take more.")
    return torch.cat(places)[best]


def likelihood_ratios(log_probs: Tensor, own: Tensor) -> Tensor:
    """(K,) balanced log-likelihood ratios of K words for a class.

    Schick et al., COLING 2020 (arXiv:2010.13641), equations 5 and 7: each word as a binary model of the class, the sum
    over its texts of log p / (1 - p), minus (n_class / n_other) times the same sum over the other texts.

    Args:
        log_probs: (N, K) log-probabilities, over the whole vocabulary, of the words at the blank.
        own: (N,) bool, the texts of the class.
    """
    exact = log_probs.to(torch.float64).clamp_max(-1e-12)
    odds = exact - torch.log(-torch.expm1(exact))  # (N, K): log p - log(1 - p)
    others = (~own).sum().clamp_min(1)
    return odds[own].sum(0) - own.sum() / others * odds[~own].sum(0)


def log_probs_of(lm: LanguageModel, states: Tensor, words: Tensor) -> Tensor:
    """(N, K) log-probabilities of (K,) words over the whole vocabulary, computed 64 texts at a time."""
    every = torch.arange(lm.vocabulary_size, device=lm.device)
    return torch.cat([lm.scores_of(some, every).log_softmax(-1)[:, words] for some in torch.split(states, 64)])


def _combinations(count: int, wide: int, device: torch.device) -> Iterator[Tensor]:
    """Every combination of `wide` positions for `count` classes, (M, C) at a time."""
    every = product(range(wide), repeat=count)
    while some := list(islice(every, AT_ONCE)):
        yield torch.tensor(some, device=device)


def _best_first(accuracy: Tensor, loss: Tensor) -> Tensor:
    """(M,) order by accuracy, then by cross-entropy, then as given."""
    by_loss = loss.argsort(stable=True)
    return by_loss[accuracy[by_loss].argsort(stable=True, descending=True)]
