"""Linear probe: logistic regression on frozen image features. Radford et al., ICML 2021, appendix A.3.

The paper selects the inverse regularisation C on validation data. The search is that of CoOp's baseline
(KaiyangZhou/CoOp, lpclip/linear_probe.py): seven powers of ten, then a binary search in the logarithm around the best;
of equal values the smaller one counts. Without validation data C is `fallback`.
"""

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from vlprompt.backbones import Clip, Vit
from vlprompt.config import Count, CountOrZero, Positive, Settings
from vlprompt.data.batch import Batch, features_of
from vlprompt.data.batches import Batches
from vlprompt.data.needs import Needs
from vlprompt.errors import UsageError
from vlprompt.learner import PromptLearner
from vlprompt.training.config import NO_TRAINING, Variant

GRID = (1e6, 1e4, 1e2, 1.0, 1e-2, 1e-4, 1e-6)


@dataclass(frozen=True)
class LinearProbeConfig(Settings):
    """How the regression is solved."""

    iterations: Count = 1000  # of L-BFGS
    search_steps: CountOrZero = 8  # pairs of C that the binary search compares, the first one included
    fallback: Positive = 0.316  # C without validation data (openai/CLIP, README: its value for CIFAR-100)


@final
class LinearProbe(PromptLearner[Clip | Vit, LinearProbeConfig]):
    """A weight vector per class; no text at all."""

    Config = LinearProbeConfig
    backbones = (Clip, Vit)
    needs = Needs(ordered=True)
    why_classes_fixed = "it has one weight vector per class and reads no names"

    def __init__(
        self, backbone: Clip | Vit, classes: Sequence[str], config: LinearProbeConfig | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(backbone, classes, config, seed=seed)
        device, width = backbone.device, backbone.embed_dim
        self.weight = nn.Parameter(torch.zeros(len(self.classes), width, device=device))  # (C, E)
        self.bias = nn.Parameter(torch.zeros(len(self.classes), device=device))  # (C,)

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return features_of(batch) @ self.weight.T + self.bias

    def prepare(self, train: Batches, val: Batches | None) -> None:
        """Solve for the weights; C is chosen on validation data where there is any."""
        x, y = _arrays(train)
        c = self.config.fallback
        if val is not None and val.size:
            c = self.search(self.accuracy_on(x, y, *_arrays(val)))
        model = self._solve(x, y, c)
        with torch.no_grad():
            self.weight.zero_()
            self.bias.fill_(-1e4)  # a class without images is never predicted
            seen = torch.from_numpy(model.classes_).to(self.bias.device)
            weight = torch.from_numpy(model.coef_).to(self.weight)
            bias = torch.from_numpy(model.intercept_).to(self.bias)
            if len(seen) == 2:  # scikit-learn has one vector for two classes: its sigmoid is their softmax
                weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
            self.weight[seen], self.bias[seen] = weight, bias

    def _solve(self, x: np.ndarray, y: np.ndarray, c: float) -> Any:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        if len(np.unique(y)) < 2:
            raise UsageError("a linear probe needs training images of 2 classes or more.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the reference stops at the same count
            return LogisticRegression(C=c, max_iter=self.config.iterations).fit(x, y)

    def accuracy_on(
        self, x: np.ndarray, y: np.ndarray, val_x: np.ndarray, val_y: np.ndarray
    ) -> Callable[[float], float]:
        """The accuracy on validation data as a function of C, from (N, E) features and (N,) labels of both splits."""
        return functools.cache(lambda c: float(self._solve(x, y, c).score(val_x, val_y)))

    def search(self, accuracy: Callable[[float], float]) -> float:
        """The C with the highest accuracy."""
        best = max(GRID, key=accuracy)
        return max(compared_pairs(accuracy, best / 10, best * 10, self.config.search_steps)[-1], key=accuracy)


def compared_pairs(value: Callable[[float], float], low: float, high: float, count: int) -> list[tuple[float, float]]:
    """The pairs that a binary search in the logarithm compares; the better half remains, of equal ones the lower."""
    pairs = [(low, high)]
    for _ in range(count - 1):
        low, high = pairs[-1]
        middle = float(np.sqrt(low * high))
        pairs.append((low, middle) if value(low) >= value(high) else (middle, high))
    return pairs


def _arrays(batches: Batches) -> tuple[np.ndarray, np.ndarray]:
    """All features (N, E) in float64 and labels (N,)."""
    pairs = [(features_of(batch), batch.labels) for batch in batches.epoch(0)]
    return torch.cat([x for x, _ in pairs]).double().cpu().numpy(), torch.cat([y for _, y in pairs]).cpu().numpy()


VARIANTS = {"clip-paper": Variant(LinearProbeConfig(), NO_TRAINING, "Radford et al. 2021; CoOp's lpclip")}
