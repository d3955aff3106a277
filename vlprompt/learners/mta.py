"""MTA: the mode of an image's views, found by a mean-shift that also decides which views count.

Zanella and Ben Ayed, CVPR 2024 (arXiv:2405.02266), algorithm 1; MaxZanella/MTA, mta.py. Over unit features f_p of V
views with zero-shot probabilities s_p, it alternates between

    inlierness  y = softmax((K(f_p - m) + lambda_q sum_q (s_p . s_q) y_q) / lambda_y)      (over the views)
    mode        m = sum_p y_p K(f_p - m) f_p, on the unit sphere

with a Gaussian kernel K whose width at each view follows its nearest neighbours, from the plain view and equal weights.
Answers are the scores of m. Nothing is learned, and nothing is kept from one image to the next.

The published code leaves an inner loop when nothing moves by 1e-6; here every loop runs its five rounds, the same to
that tolerance. Views that do not differ at all give it 0/0; here they give their common answer.
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

ROUNDS = 5  # of each loop (mta.py: max_iter)
NEAREST = 0.3  # of the other views decide the width of the kernel (mta.py)
NARROWEST = 1e-6  # squared width; distances below it are rounding


@dataclass(frozen=True)
class MTAConfig(HeadConfig):
    """How views are weighed."""

    views: int = 64  # main.py, --batch-size
    augmix: bool = False  # main.py: AugMix is for TPT only
    lambda_y: float = 0.2  # of the entropy of the inlierness (section 4.1; main.py)
    lambda_q: float = 4.0  # of the affinity of views (section 4.1; main.py)

    def __post_init__(self) -> None:
        """Raise UsageError for a single view, or weights that cannot be."""
        super().__post_init__()
        if self.views < 2:
            raise UsageError(f"views is {self.views}; mta needs 2 views or more (paper: 64); one alone is zero_shot.")
        if not (self.lambda_y > 0 and self.lambda_q >= 0):
            raise UsageError(f"lambda_y {self.lambda_y} must be above 0, lambda_q {self.lambda_q} 0 or more.")


@final
class MTA(FrozenHead):
    """Scores of the mode of an image's views."""

    reads = Reads.VIEWS

    def __init__(self, clip: Clip, classes: Sequence[str], config: MTAConfig = MTAConfig(), *, seed: int = 0) -> None:
        super().__init__(clip, classes, config, seed=seed)

    @torch.no_grad()
    def predict(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        views = F.normalize(views_of(batch), dim=-1)  # (B, V, E)
        says = self.scores_of(views).softmax(dim=-1)  # (B, V, C)
        return self.backbone.scores(self.mode(views, says @ says.mT), self.text())

    def mode(self, views: Tensor, affinity: Tensor) -> Tensor:
        """Where the views that agree lie.

        Args:
            views: (B, V, E), unit length.
            affinity: (B, V, V), how much two views agree on the class.

        Returns:
            (B, E), unit length.
        """
        width = _widths(views)  # (B, V)
        mode = views[:, 0]
        inlierness = torch.full_like(width, 1 / width.shape[1])  # (B, V)
        for _ in range(ROUNDS):
            density = _kernel(views, mode, width)
            for _ in range(ROUNDS):
                support = (affinity @ inlierness[..., None])[..., 0]
                inlierness = ((density + self.config.lambda_q * support) / self.config.lambda_y).softmax(dim=-1)
            for _ in range(ROUNDS):
                weights = inlierness * _kernel(views, mode, width)
                mode = F.normalize((weights[:, None] @ views)[:, 0], dim=-1)
        return mode


def _widths(views: Tensor) -> Tensor:
    """(B, V) squared widths: half the mean squared distance to the nearest of the other views."""
    squares = (2 - 2 * views @ views.mT).clamp(min=0)  # (B, V, V)
    count = max(1, int(NEAREST * (views.shape[1] - 1)))
    nearest = squares.sort(dim=-1).values[..., 1 : count + 1]  # the first is the view itself
    return (nearest.sum(dim=-1) / (2 * count)).clamp(min=NARROWEST)


def _kernel(views: Tensor, mode: Tensor, width: Tensor) -> Tensor:
    """(B, V) Gaussian of the distance of (B, V, E) views from (B, E) modes."""
    squares = (2 - 2 * views @ mode[..., None])[..., 0].clamp(min=0)
    return (-squares / (2 * width)).exp()


def recipe(shots: int = 0, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """Nothing is trained."""
    return TrainConfig(epochs=0, augment="none")


VARIANTS = {"mta-paper": Variant(MTAConfig(), recipe, "Zanella and Ben Ayed 2024 (arXiv:2405.02266): 64 views")}
