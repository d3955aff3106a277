"""What a learner is given: some examples of one split, as images, as features of a frozen encoder, or both."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B examples of one split.

    Attributes:
        labels: (B,) int64 class numbers, -1 where unknown.
        index: (B,) int64 positions in the split.
        images: (B, 3, H, W) float32, already normalised.
        features: (B, E) float32 image features, not normalised.
    """

    labels: Tensor
    index: Tensor
    images: Tensor | None = None
    features: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        return replace(
            self,
            labels=self.labels.to(device),
            index=self.index.to(device),
            images=None if self.images is None else self.images.to(device, non_blocking=True),
            features=None if self.features is None else self.features.to(device, non_blocking=True),
        )
