"""KeyCache: a key-value cache of training images, the part of Tip-Adapter that needs no training.

    scores(f) = alpha * exp(-beta * (1 - f keys^T)) onehot(labels),  f and keys normalised

Zhang et al., ECCV 2022 (arXiv:2207.09519), section 3.1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.data.batch import features_of
from vlprompt.data.batches import Batches

GRID = (200, 20)  # values of beta and of alpha that a search tries (gaopengcuhk/Tip-Adapter, configs/*.yaml)
AT_ONCE = 2**22  # affinities in memory at once in a search
IN_VAIN = 3  # how often a range is doubled without finding better values

# alpha, and the largest (beta, alpha) of a search, by data set (gaopengcuhk/Tip-Adapter, configs/*.yaml).
PUBLISHED: dict[str, tuple[float, tuple[float, float]]] = {
    "imagenet": (1.17, (7, 3)),
    "caltech101": (3, (12, 5)),
    "dtd": (2, (13, 13)),
    "eurosat": (2, (12, 10)),
    "fgvc_aircraft": (5, (30, 30)),
    "food101": (1.17, (10, 10)),
    "oxford_flowers": (10, (50, 50)),
    "oxford_pets": (1.17, (7, 3)),
    "stanford_cars": (3, (20, 10)),
    "sun397": (1.17, (12, 10)),
    "ucf101": (3, (7, 3)),
}


class KeyCache(nn.Module):
    """Keys that can be learned, their labels, and their weight in the scores.

    Attributes:
        keys: (N, E) parameter; `fill` normalises the rows.
        labels: (N,) int64.
        weights: (2,), alpha (the weight of the cache) and beta (its sharpness).
    """

    labels: Tensor
    weights: Tensor

    def __init__(self, classes: int, width: int, alpha: float, beta: float) -> None:
        super().__init__()
        self.classes = classes
        self.keys = nn.Parameter(torch.zeros(0, width))
        self.register_buffer("labels", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("weights", torch.tensor([alpha, beta], dtype=torch.float32))

    def forward(self, features: Tensor) -> Tensor:
        """(B, E) features -> (B, C) scores."""
        alpha, beta = self.weights.unbind()
        return self.votes(F.normalize(features, dim=-1) @ self.keys.T, beta) * alpha

    def votes(self, affinity: Tensor, beta: Tensor | float) -> Tensor:
        """(B, N) affinities -> (B, C), the sum over the keys of each class."""
        onehot = F.one_hot(self.labels, self.classes).to(affinity.dtype)
        votes: Tensor = ((affinity - 1) * beta).exp() @ onehot
        return votes

    def resize(self, size: int) -> None:
        """Replace the keys and labels by N zeros each."""
        self.keys = nn.Parameter(self.keys.new_zeros(size, self.keys.shape[1]))
        self.labels = self.labels.new_zeros(size)

    @torch.no_grad()
    def fill(self, train: Batches, views: int) -> None:
        """Set each key to the mean of an image's views, which is normalised afterwards (Tip-Adapter, utils.py).

        Args:
            train: The training set, in any order; an image that no batch holds is left out.
            views: Epochs to read, each with one view of every image.
        """
        total = self.keys.new_zeros(train.size, self.keys.shape[1])
        labels = self.labels.new_full((train.size,), -1)
        for batch in (batch.to(total.device) for view in range(views) for batch in train.epoch(view)):
            total.index_add_(0, batch.index, features_of(batch).to(total.dtype))
            labels[batch.index] = batch.labels
        seen = labels >= 0
        self.resize(int(seen.sum()))
        self.keys.copy_(F.normalize(total[seen], dim=-1))
        self.labels.copy_(labels[seen])

    @torch.no_grad()
    def search(
        self, features: Tensor, base: Tensor, labels: Tensor, limits: tuple[float, float], *, widen: bool = False
    ) -> None:
        """Set alpha and beta to the first pair of the grid with the highest accuracy on held-out images.

        Args:
            features: (V, E) features of held-out images.
            base: (V, C) their scores without the cache.
            labels: (V,) int64.
            limits: Largest beta and alpha; both start at 0.1 (Tip-Adapter, utils.py::search_hp).
            widen: Whether a range is doubled while its largest value is as good as any.
        """
        highest, in_vain = -1, 0
        while in_vain < IN_VAIN:
            grid = [0.1 + torch.arange(n) * (top - 0.1) / n for n, top in zip(GRID, limits, strict=True)]
            right = self._right(features, base, labels, *grid)
            most, best = int(right.max()), divmod(int(right.argmax()), GRID[1])  # of beta, of alpha
            in_vain = 0 if most > highest else in_vain + 1
            if most > highest:
                highest = most
                self.weights.copy_(torch.stack([grid[1][best[1]], grid[0][best[0]]]))
            at_end = [int(each.max()) >= highest for each in (right[-1], right[:, -1])]
            if not (widen and any(at_end)):
                break
            limits = (limits[0] * (1 + at_end[0]), limits[1] * (1 + at_end[1]))

    def _right(self, features: Tensor, base: Tensor, labels: Tensor, betas: Tensor, alphas: Tensor) -> Tensor:
        """(betas, alphas), how many held-out images each pair classifies correctly."""
        right = torch.zeros(GRID, dtype=torch.int64)
        at_once = max(1, AT_ONCE // max(1, len(self.labels)))
        for rows in torch.split(torch.arange(len(labels), device=labels.device), at_once):
            affinity = F.normalize(features[rows], dim=-1) @ self.keys.T
            for i, beta in enumerate(betas.tolist()):
                votes = self.votes(affinity, beta)
                answers = [(base[rows] + alpha * votes).argmax(dim=-1) for alpha in alphas.tolist()]
                right[i] += (torch.stack(answers) == labels[rows]).sum(dim=1).cpu()
        return right
