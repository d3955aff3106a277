"""The linear classifier of methods that read no class names, and how it grows with a sequence of tasks."""

import abc
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from vlprompt.data.classes import check_classes
from vlprompt.data.task import Task
from vlprompt.errors import UsageError, warn
from vlprompt.learner import B, C, PromptLearner
from vlprompt.randomness import seeded

BIAS = -math.log(99)  # every class starts at 1 % (KMnP/vpt, src/models/mlp.py); softmax does not depend on it
# VPT's code initialises weights from Kaiming's normal distribution by outputs, sqrt(2 / C). With 10 classes on ViT-Tiny
# that gives scores of +-25, a loss of 35 before the first step, and gradients that throw prompts far off.
STD = 0.01
ONE_VECTOR_PER_CLASS = "its head has one weight vector per class and reads no names"


class Head(nn.Linear):
    """A linear classifier that grows when a task brings new classes, and can mask the classes of other tasks.

    Attributes:
        masked: Whether classes that the current task lacks score minus infinity during training. Then no two tasks
            are ever compared, and training on one does not shrink the weights of another.
        present: (C,) bool, the classes of the current task.
        warned: Whether the user knows of a masked task of one class.
    """

    present: Tensor
    warned = False

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
        """Set all weights to zero, and turn the mask on if asked; it is never turned off.

        Under a mask no step compares two tasks, so initial noise would decide between them.
        """
        self.weight.zero_()
        self.bias.zero_()
        self.masked = self.masked or masked
        self._warn_of_one_class()

    def grow(self, classes: int, present: Iterable[int]) -> None:
        """Go on to a task: C classes in all, new ones with zero weights, and the numbers of the task's own classes."""
        for name, old in (("weight", self.weight), ("bias", self.bias)):
            grown = old.new_zeros(classes, *old.shape[1:])
            grown[: len(old)] = old.detach()
            setattr(self, name, nn.Parameter(grown))
        self.out_features = classes
        self.present = torch.zeros(classes, dtype=torch.bool, device=self.weight.device)
        self.present[list(present)] = True
        self._warn_of_one_class()

    def _warn_of_one_class(self) -> None:
        """Warn, once, of a task whose loss is 0 whatever its images are."""
        if self.masked and int(self.present.sum()) == 1 and not self.warned:
            self.warned = True
            warn(
                "a task has a single class, and a masked softmax compares it with no other, so nothing is learned; "
                "give every task two classes or more, or train without the mask (class_mask=False, or no --masked)."
            )


def linear_head(features: int, classes: int, *, seed: int) -> Head:
    """A head whose (C, E) weight has a narrow normal distribution, whatever the number of classes."""
    with seeded(seed):
        head = Head(features, classes)
        nn.init.normal_(head.weight, std=STD)
    nn.init.constant_(head.bias, BIAS)
    return head


def zero_head(features: int, classes: int, *, masked: bool) -> Head:
    """A head for a sequence of tasks, with zero weights."""
    head = linear_head(features, classes, seed=0)
    head.begin_stream(masked=masked)
    return head


class GrowingHead(PromptLearner[B, C], abc.ABC):
    """A learner whose `head` grows when a task brings new classes; VPT on a CLIP has none, and changes its classes."""

    head: Head
    why_classes_fixed = ONE_VECTOR_PER_CLASS

    def begin_stream(self, *, masked: bool = False) -> None:
        """Called before the first of several tasks: the head starts at zero. UsageError if there is none to mask."""
        if hasattr(self, "head"):
            self.head.begin_stream(masked=masked)
        elif masked:
            raise UsageError(f"{self.method()} has no linear head here, so its classes cannot be masked.")

    def begin_task(self, task: Task) -> None:
        """Go on to a task whose class names begin with the learner's own, and grow the head; UsageError for others."""
        if not hasattr(self, "head") or task.classes[: len(self.classes)] != self.classes:
            self.set_classes(task.classes)
            return
        self.classes = check_classes(task.classes)
        self.head.grow(len(self.classes), {example.label for example in task.train if example.label >= 0})
