"""What learners ask of a frozen model, whatever kind it is."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from vlprompt.data.texts import Text
from vlprompt.data.transforms import Preprocess


class Backbone(Protocol):
    """What a learner's frozen model offers to everybody; methods ask for more by its own type."""

    name: str
    precision: str

    @property
    def fingerprint(self) -> str:
        """A short name of the weights."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""


class ImageBackbone(Backbone, Protocol):
    """What a frozen model that sees images offers besides."""

    preprocess: Preprocess

    def encode_image(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, E)."""


class TextEncoder(Protocol):
    """A frozen model with one way to put texts before it: its answer is a fact, and kept in the feature store."""

    @property
    def key(self) -> str:
        """Text that is equal for two ways only if they put every text before the model in the same way."""

    def __call__(self, texts: Sequence[Text]) -> Tensor:
        """B texts -> (B, E)."""
