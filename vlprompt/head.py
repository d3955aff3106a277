"""The linear classifier that methods without class names put on image features."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from vlprompt.init import seeded

BIAS = -math.log(99)  # every class starts at 1 % (KMnP/vpt, src/models/mlp.py); softmax does not see it
# VPT's code starts weights from Kaiming's normal distribution by outputs, sqrt(2 / C). Of 10 classes on ViT-Tiny that
# makes scores of +-25 and a loss of 35 before the first step, and gradients that throw prompts far off.
STD = 0.01
KEEPS_CLASSES = "its head has one weight vector per class and reads no names"


def linear_head(features: int, classes: int, *, seed: int) -> nn.Linear:
    """A (C, E) weight from a narrow normal distribution, whatever the number of classes, and a (C,) bias."""
    with seeded(seed):
        head = Head(features, classes)
        nn.init.normal_(head.weight, std=STD)
    nn.init.constant_(head.bias, BIAS)
    return head


class Head(nn.Linear):
    """A linear classifier that grows when a task brings new classes, and may look at the present task's only.

    Attributes:
        masked: Whether, while it is trained, classes that the present task lacks score minus infinity. Then nothing
            ever compares the classes of two tasks, and nothing of a task makes the weights of another's smaller.
        present: (C,) bool, the present task's classes.
    """

    present: Tensor

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(features, classes)
        self.masked = False
        self.register_buffer("present", torch.ones(classes, dtype=torch.bool), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, E) -> (B, C)."""
        scores = super().forward(features)
        return scores.masked_fill(~self.present, -math.inf) if self.masked and self.training else scores

    @torch.no_grad()
    def begin_stream(self, *, masked: bool = False) -> None:
        """Start at zero: where a mask forbids to compare two tasks, noise at the start would decide between them.

        Args:
            masked: Look at the present task's classes only; a head that does so already goes on doing so.
        """
        self.weight.zero_()
        self.bias.zero_()
        self.masked = self.masked or masked

    def grow(self, classes: int, present: Iterable[int]) -> None:
        """Go on to a task: more classes in all, whose weights start at zero, and the numbers of those it has."""
        for name, old in (("weight", self.weight), ("bias", self.bias)):
            grown = old.new_zeros(classes, *old.shape[1:])
            grown[: len(old)] = old.detach()
            setattr(self, name, nn.Parameter(grown))
        self.out_features = classes
        self.present = torch.zeros(classes, dtype=torch.bool, device=self.weight.device)
        self.present[list(present)] = True


def zero_head(features: int, classes: int, *, masked: bool) -> Head:
    """A head for tasks that come one after another."""
    with seeded(0):  # nn.Linear draws, though nothing is kept of it
        head = Head(features, classes)
    head.begin_stream(masked=masked)
    return head
