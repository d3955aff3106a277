"""Cosine: learners whose scores are scaled cosine similarities of image features and class features.

What builds on a trained learner (export of class weights, calibration, test-time methods on features) uses these three
members and nothing else.
"""

import abc
from typing import Protocol, TypeVar, runtime_checkable

from torch import Tensor

from vlprompt.backbones.clip import Clip
from vlprompt.data.batch import Batch, features_of
from vlprompt.learner import PromptLearner

C = TypeVar("C")


@runtime_checkable
class Cosine(Protocol):
    """`forward` computes `scale() * cos(image_features(batch), class_features())`.

    A CLIP with a `logit_bias` (SigLIP) adds that to every score. `predict` may adapt to test images beyond it.
    """

    def image_features(self, batch: Batch) -> Tensor:
        """(B, E), of any length."""

    def class_features(self) -> Tensor:
        """(C, E), of any length."""

    def scale(self) -> Tensor:
        """The factor of the cosine, a scalar."""


class CosineLearner(PromptLearner[Clip, C], abc.ABC):
    """A learner of class features; a subclass defines `text`, and `image_features` where it changes those of images."""

    @abc.abstractmethod
    def text(self) -> Tensor:
        """(1, C, E) text features of the current class names, computed at every call."""

    def class_features(self) -> Tensor:
        """(C, E), computed again when the prompt or the class names have changed."""
        return self.cached("text", self.text)[0]

    def image_features(self, batch: Batch) -> Tensor:
        """(B, E)."""
        return features_of(batch)

    def scale(self) -> Tensor:
        """CLIP's learned temperature, exponentiated."""
        return self.backbone.logit_scale

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self.backbone.scores(self.image_features(batch), self.class_features())
