"""A key-value cache of training images: the part of Tip-Adapter that needs no training.

    scores(f) = alpha * exp(-beta * (1 - f keys^T)) onehot(labels),  f and keys normalised

Zhang et al., ECCV 2022 (arXiv:2207.09519), section 3.1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.data.loaders import Batches

GRID = (200, 20)  # values of beta and of alpha that a search tries (gaopengcuhk/Tip-Adapter, configs/*.yaml)
AT_ONCE = 2**22  # affinities held at once in a search

# alpha, and how far a search goes in (beta, alpha), by data set (gaopengcuhk/Tip-Adapter, configs/*.yaml).
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


def published(dataset: str) -> tuple[float, tuple[float, float]]:
    """Published alpha and search range of a data set; ImageNet's for one that has none."""
    return PUBLISHED.get(dataset, PUBLISHED["imagenet"])


def everything(batches: Batches, device: torch.device) -> tuple[Tensor, Tensor]:
    """All features (N, E) and labels (N,) of one epoch."""
    pairs = [(batch.features, batch.labels) for batch in batches.epoch(0) if batch.features is not None]
    return torch.cat([x for x, _ in pairs]).to(device), torch.cat([y for _, y in pairs]).to(device)


class Cache(nn.Module):
    """Keys (N, E) that can be learned, the N labels they stand for, and how much they count.

    Attributes:
        keys: (N, E) parameter; rows are normalised when they are filled in.
        labels: (N,) int64.
        weights: (2,), alpha (how much the cache counts) and beta (how sharp it is).
    """

    labels: Tensor
    weights: Tensor

    def __init__(self, classes: int, width: int, alpha: float, beta: float) -> None:
        super().__init__()
        self.classes = classes
        self.keys = nn.Parameter(torch.zeros(0, width))
        self.register_buffer("labels", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("weights", torch.tensor([alpha, beta]))

    def forward(self, features: Tensor) -> Tensor:
        """(B, E) features -> (B, C) scores."""
        alpha, beta = self.weights.unbind()
        return self.votes(F.normalize(features, dim=-1) @ self.keys.T, beta) * alpha

    def votes(self, affinity: Tensor, beta: Tensor | float) -> Tensor:
        """(B, N) affinities -> (B, C), what the cache says of each class."""
        onehot = F.one_hot(self.labels, self.classes).to(affinity.dtype)
        votes: Tensor = ((affinity - 1) * beta).exp() @ onehot
        return votes

    def resize(self, size: int) -> None:
        """Make room for N keys."""
        self.keys = nn.Parameter(self.keys.new_zeros(size, self.keys.shape[1]))
        self.labels = self.labels.new_zeros(size)

    @torch.no_grad()
    def fill(self, train: Batches, views: int) -> None:
        """Take the mean of all views of each image, not normalised, then normalise it (Tip-Adapter, utils.py).

        Args:
            train: The training set, in any order; an image that never comes up is left out.
            views: Epochs to look at, each a view of every image.
        """
        total = self.keys.new_zeros(train.size, self.keys.shape[1])
        labels = self.labels.new_full((train.size,), -1)
        for batch in (batch.to(total.device) for view in range(views) for batch in train.epoch(view)):
            if batch.features is not None:
                total.index_add_(0, batch.index, batch.features.to(total.dtype))
                labels[batch.index] = batch.labels
        known = labels >= 0
        self.resize(int(known.sum()))
        self.keys.copy_(F.normalize(total[known], dim=-1))
        self.labels.copy_(labels[known])

    @torch.no_grad()
    def search(self, features: Tensor, base: Tensor, labels: Tensor, reach: tuple[float, float]) -> None:
        """Set alpha and beta to the pair that answers most held-out images rightly, the first of equals.

        Args:
            features: (V, E) features of held-out images.
            base: (V, C) scores they have without the cache.
            labels: (V,) int64.
            reach: Largest beta and alpha; both start at 0.1 (Tip-Adapter, utils.py::search_hp).
        """
        betas, alphas = (0.1 + torch.arange(n) * (top - 0.1) / n for n, top in zip(GRID, reach, strict=True))
        right = torch.zeros(GRID, dtype=torch.int64)
        at_once = max(1, AT_ONCE // max(1, len(self.labels)))
        for rows in torch.split(torch.arange(len(labels), device=labels.device), at_once):
            affinity = F.normalize(features[rows], dim=-1) @ self.keys.T
            for i, beta in enumerate(betas.tolist()):
                votes = self.votes(affinity, beta)
                answers = [(base[rows] + alpha * votes).argmax(dim=-1) for alpha in alphas.tolist()]
                right[i] += (torch.stack(answers) == labels[rows]).sum(dim=1).cpu()
        best = int(right.argmax())
        self.weights.copy_(torch.stack([alphas[best % GRID[1]], betas[best // GRID[1]]]))
