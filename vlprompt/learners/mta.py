"""MTA: the mode of an image's views, found by a mean-shift that also weighs the views.

Zanella and Ben Ayed, CVPR 2024 (arXiv:2405.02266), algorithm 1; MaxZanella/MTA, mta.py. Over unit features f_p of V
views with zero-shot probabilities s_p, it alternates between

    inlierness  y = softmax((K(f_p - m) + lambda_q sum_q (s_p . s_q) y_q) / lambda_y)      (over the views)
    mode        m = sum_p y_p K(f_p - m) f_p, on the unit sphere

with a Gaussian kernel K whose width at each view depends on its nearest neighbours, from the plain view and equal
weights. The class scores are those of m. Nothing is learned, and images do not affect each other.

The published code leaves an inner loop when nothing moves by 1e-6; here every loop runs its five rounds, the same to
that tolerance. It gives NaN for views that do not differ at all, here their common prediction, and for 2 to 4 views,
since 30 % of the others is then none; here the width is that of the nearest one. Its squared distances are 2 - 2 cos in
half precision; here they are sums of squared differences, which are also right for views that hardly differ. The code
has the template "a photo of a {}." for all data sets (`mta-code`).
"""

from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.config import NonNegative, Positive
from vlprompt.data.batch import Batch, views_of
from vlprompt.data.templates import DEFAULT_TEMPLATE
from vlprompt.prompts.frozen_head import SeveralViews, ViewsConfig, ViewsHead
from vlprompt.training.config import NO_TRAINING, Variant

ROUNDS = 5  # of each loop (mta.py: max_iter)
NEAREST = 0.3  # share of the other views that sets the width of the kernel (mta.py)
NARROWEST = 1e-12  # squared width; of unit vectors in float32, distances below its root are rounding


@dataclass(frozen=True)
class MTAConfig(ViewsConfig):
    """How views are weighed; 64 views without AugMix, which main.py uses for TPT only."""

    views: SeveralViews = 64  # of each image, the plain one included; one alone is zero_shot
    lambda_y: Positive = 0.2  # of the entropy of the inlierness (section 4.1; main.py)
    lambda_q: NonNegative = 4.0  # of the affinity of views (section 4.1; main.py)


@final
class MTA(ViewsHead[MTAConfig]):
    """Scores of the mode of an image's views."""

    Config = MTAConfig

    @torch.no_grad()
    def predict(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        views = F.normalize(views_of(batch), dim=-1)  # (B, V, E)
        probabilities = self.view_scores(views).softmax(dim=-1)  # (B, V, C)
        mode, _ = self.mode(views, probabilities @ probabilities.mT)
        return self.backbone.scores(mode, self.class_features())

    def mode(self, views: Tensor, affinity: Tensor) -> tuple[Tensor, Tensor]:
        """The mode of the views that agree, and how much each view counts.

        Args:
            views: (B, V, E), unit length.
            affinity: (B, V, V), how much two views agree on the class.

        Returns:
            The modes (B, E), unit length, and the inlierness (B, V), whose sum over views is 1.
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
        return mode, inlierness


def _widths(views: Tensor) -> Tensor:
    """(B, V) squared widths: half the mean squared distance to the nearest of the other views."""
    squares = _squared_distances(views, views)  # (B, V, V)
    count = max(1, int(NEAREST * (views.shape[1] - 1)))
    nearest = squares.sort(dim=-1).values[..., 1 : count + 1]  # the first is the view itself
    return (nearest.sum(dim=-1) / (2 * count)).clamp(min=NARROWEST)


def _kernel(views: Tensor, mode: Tensor, width: Tensor) -> Tensor:
    """(B, V) Gaussian of the distance of (B, V, E) views from (B, E) modes."""
    squares = _squared_distances(views, mode[:, None])[..., 0]
    return (-squares / (2 * width)).exp()


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """(B, N, E) and (B, M, E) -> (B, N, M), from differences, since 2 - 2 cos loses the digits of small distances."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square()


PAPER = "Zanella and Ben Ayed 2024 (arXiv:2405.02266): 64 views"
VARIANTS = {
    "mta-paper": Variant(MTAConfig(), NO_TRAINING, PAPER),
    "mta-code": Variant(
        MTAConfig(templates=(DEFAULT_TEMPLATE,)), NO_TRAINING, f"{PAPER}, one template for all data sets, as its code"
    ),
}
