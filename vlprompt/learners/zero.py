"""ZERO: the most certain views vote. Farina et al., NeurIPS 2024 (arXiv:2405.18330), algorithm 1.

A softmax whose temperature goes to zero is a vote for one class, so the averaged prediction of the views with the
lowest entropy becomes a count of votes. Where classes are tied, the views that were left out are asked one by one, the
most certain first, until one names a tied class; if none does, the most certain voter for one of them decides. The
scores are logarithms: their softmax is the share of votes, the one that broke a tie counted in.

The published code (FarinaMatteo/zero, ttas/zero.py) means to ask the left-out views in that order but takes views by
their position, some of which have voted already; and where none names a tied class it reads the wrong scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.backbones.clip import Clip
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.learners.base import Reads, Variant, views_of
from vlprompt.learners.frozen_head import FrozenHead, HeadConfig
from vlprompt.recipe import TrainConfig

NO_VOTE = 1e-6  # share of votes of a class that has none, so that its score is finite


@dataclass(frozen=True)
class ZeroConfig(HeadConfig):
    """Who votes."""

    views: int = 64  # section 4.1; ttas/zero.py
    augmix: bool = False  # crops and flips only (data/augs.py)
    confident: float = 0.3  # gamma, the share of views that vote (ttas/zero.py; the paper's first version had 0.1)

    def __post_init__(self) -> None:
        """Raise UsageError for a single view, or a share that is none."""
        super().__post_init__()
        if self.views < 2:
            raise UsageError(f"views is {self.views}; zero needs 2 views or more (paper: 64); one alone is zero_shot.")
        if not 0 < self.confident <= 1:
            raise UsageError(f"zero.confident is {self.confident}; it is a share of the views, above 0 and at most 1.")


@final
class Zero(FrozenHead):
    """A vote among the views with the lowest entropy."""

    reads = Reads.VIEWS

    def __init__(self, clip: Clip, classes: Sequence[str], config: ZeroConfig = ZeroConfig(), *, seed: int = 0) -> None:
        super().__init__(clip, classes, config, seed=seed)

    @torch.no_grad()
    def predict(self, batch: Batch) -> Tensor:
        """Class scores (B, C), logarithms of shares of votes."""
        views = views_of(batch)  # (B, V, E)
        scores = self.scores_of(views)  # (B, V, C)
        entropy = torch.special.entr(scores.softmax(dim=-1)).sum(dim=-1)  # (B, V)
        surest = entropy.argsort(dim=1, stable=True)
        answers = scores.argmax(dim=-1).gather(1, surest)  # (B, V), the most certain view's first
        voters = max(1, int(self.config.confident * views.shape[1]))
        return count_votes(answers, voters, scores.shape[-1]).to(scores.dtype)


def count_votes(answers: Tensor, voters: int, classes: int) -> Tensor:
    """Logarithms of the shares of votes.

    Args:
        answers: (B, V) class numbers, the most certain view's first.
        voters: How many of the views vote; the others break ties.
        classes: C.

    Returns:
        (B, C) float64.
    """
    votes = F.one_hot(answers[:, :voters], classes).sum(dim=1)  # (B, C)
    tied = votes == votes.amax(dim=1, keepdim=True)
    asked = torch.cat([answers[:, voters:], answers[:, :voters]], dim=1)
    first = tied.gather(1, asked).int().argmax(dim=1, keepdim=True)  # the first that names a tied class
    broken = (tied.sum(dim=1, keepdim=True) > 1).to(votes.dtype)
    votes = votes.scatter_add(1, asked.gather(1, first), broken).double()
    return (votes / votes.sum(dim=1, keepdim=True) + NO_VOTE).log()


def recipe(shots: int = 0, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """Nothing is trained."""
    return TrainConfig(epochs=0, augment="none")


VARIANTS = {"zero-paper": Variant(ZeroConfig(), recipe, "Farina et al. 2024 (arXiv:2405.18330): 64 views, gamma 0.3")}
