"""ZERO: the most certain views vote. Farina et al., NeurIPS 2024 (arXiv:2405.18330), algorithm 1.

A softmax whose temperature goes to zero is a vote for one class, so the averaged prediction of the views with the
lowest entropy becomes a count of votes. Where classes are tied, the remaining views are asked one after another, the
most certain first, until one names a tied class; if none does, the most certain voter for one of them decides. The
scores are logarithms: their softmax is the share of votes, including the one that broke a tie.

The published code (FarinaMatteo/zero, ttas/zero.py) asks the remaining views in that order since November 2024; where
none names a tied class it reads the scores of another view by a mask of inverted bits, which is not repeated here. The
code computes in half precision under autocast, where probabilities of a temperature near zero may be shared by two
classes; here a view has one whole vote. Its template is "a photo of a {}." for all data sets (`zero-code`), or the
seven selected on ImageNet (`zero-code-templates`).
"""

from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.config import Share
from vlprompt.data.batch import Batch, views_of
from vlprompt.data.templates import DEFAULT_TEMPLATE, IMAGENET_SELECT
from vlprompt.prompts.frozen_head import SeveralViews, ViewsConfig, ViewsHead, by_certainty, share_of
from vlprompt.training.config import NO_TRAINING, Variant

NO_VOTE = 1e-6  # share of votes of a class that has none, so that its score is finite


@dataclass(frozen=True)
class ZeroConfig(ViewsConfig):
    """Which views vote; 64 views (section 4.1), crops and flips only (data/augs.py)."""

    views: SeveralViews = 64  # of each image, the plain one included; one alone is zero_shot
    confident: Share = 0.3  # gamma, the share of views that vote (ttas/zero.py; the paper's first version had 0.1)


@final
class Zero(ViewsHead[ZeroConfig]):
    """A vote among the views with the lowest entropy."""

    Config = ZeroConfig

    @torch.no_grad()
    def predict(self, batch: Batch) -> Tensor:
        """Class scores (B, C), logarithms of shares of votes."""
        views = views_of(batch)  # (B, V, E)
        scores = self.view_scores(views)  # (B, V, C)
        answers = scores.argmax(dim=-1).gather(1, by_certainty(scores))  # (B, V), the most certain view's first
        votes = count_votes(answers, share_of(self.config.confident, views.shape[1]), scores.shape[-1]).double()
        return (votes / votes.sum(dim=1, keepdim=True) + NO_VOTE).log().to(scores.dtype)


def count_votes(answers: Tensor, voters: int, classes: int) -> Tensor:
    """The votes for each class, with the one that breaks a tie.

    Args:
        answers: (B, V) class numbers, the most certain view's first.
        voters: How many of the views vote; the others break ties.
        classes: C.

    Returns:
        (B, C) int64.
    """
    votes = F.one_hot(answers[:, :voters], classes).sum(dim=1)  # (B, C)
    tied = votes == votes.amax(dim=1, keepdim=True)
    asked = torch.cat([answers[:, voters:], answers[:, :voters]], dim=1)
    first = tied.gather(1, asked).int().argmax(dim=1, keepdim=True)  # the first that names a tied class
    broken = (tied.sum(dim=1, keepdim=True) > 1).to(votes.dtype)
    return votes.scatter_add(1, asked.gather(1, first), broken)


PAPER = "Farina et al. 2024 (arXiv:2405.18330): 64 views, gamma 0.3"
VARIANTS = {
    "zero-paper": Variant(ZeroConfig(), NO_TRAINING, PAPER),
    "zero-code": Variant(
        ZeroConfig(templates=(DEFAULT_TEMPLATE,)), NO_TRAINING, f"{PAPER}, one template for all data sets, as its code"
    ),
    "zero-code-templates": Variant(
        ZeroConfig(templates=IMAGENET_SELECT),
        NO_TRAINING,
        f"{PAPER}, its code with --templates: seven for all data sets",
    ),
}
