"""Needs: what a learner reads, as data; and the protocols of frozen models, text encoders and batch settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import torch
from torch import Tensor

from vlprompt.data.texts import Text
from vlprompt.data.views import Views


class Input(Enum):
    """The contents of a learner's batches."""

    FEATURES = "features"  # (B, E) of images, from the feature store
    IMAGES = "images"  # (B, 3, H, W), for prompts inside the image tower
    VIEWS = "views"  # (B, V, E) features of random views of a test image
    TEXTS = "texts"
    TEXT_FEATURES = "features of texts"  # (B, E) by the learner's `text_encoder`, from the feature store

    @property
    def of_texts(self) -> bool:
        """Whether the examples are texts."""
        return self in (Input.TEXTS, Input.TEXT_FEATURES)


class FrozenModel(Protocol):
    """The part of a frozen model that all methods use."""

    name: str
    precision: str

    @property
    def fingerprint(self) -> str:
        """A short hash of the weights."""

    @property
    def device(self) -> torch.device:
        """The device of the weights."""


class TextEncoder(Protocol):
    """A frozen model with one way of giving texts to it; the feature store holds its features."""

    @property
    def key(self) -> str:
        """Text that is equal for two encoders only if they give every text to the model in the same way."""

    def __call__(self, texts: Sequence[Text]) -> Tensor:
        """B texts -> (B, E)."""


@dataclass(frozen=True)
class Needs:
    """What a learner reads: a class attribute. A constructor replaces the fields that depend on the config.

    Attributes:
        input: The contents of a batch.
        features_too: Batches of images also hold the frozen model's features of these images.
        views: The views of a test image (`Input.VIEWS`).
        train_views: Random views per training image that `prepare` receives, epoch k being view k; 1: the plain image.
            A setting `augment` of "none" or "cached:K" takes precedence.
        ordered: `prepare` receives the training set in order, and validation data.
        unlabelled: Batches also hold unlabelled examples.
        text_encoder: Encodes the texts (`Input.TEXT_FEATURES`).
        text_field: The field's name for a text that is given as one string.
        trains: Whether the learner uses training examples.
        why_not_distributed: Why several processes cannot share a batch; empty where its gradient is the mean of its
            parts' gradients.
    """

    input: Input = Input.FEATURES
    features_too: bool = False
    views: Views | None = None
    train_views: int = 1
    ordered: bool = False
    unlabelled: bool = False
    text_encoder: TextEncoder | None = None
    text_field: str = "text"
    trains: bool = True
    why_not_distributed: str = ""


class BatchSettings(Protocol):
    """The training settings that batches depend on; a `TrainConfig` has them."""

    @property
    def batch_size(self) -> int:
        """Examples in a batch."""

    @property
    def seed(self) -> int:
        """Seed of the order and the augmentation."""

    @property
    def augment(self) -> str:
        """One of "paper", "none" and "cached:K"."""

    @property
    def crop(self) -> float:
        """The smallest area of a random crop, as a share of the image's area."""


Source = Any  # a `FrozenModel`; one that reads images also has `preprocess` and `encode_image`
