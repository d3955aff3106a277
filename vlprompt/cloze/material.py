"""Examples out of batches, for methods that look at all of them before the first step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vlprompt.data.batch import Batch
from vlprompt.data.images import Example
from vlprompt.data.loaders import Batches
from vlprompt.data.unlabelled import WithUnlabelled
from vlprompt.errors import UsageError
from vlprompt.learners.base import texts_of


@dataclass(frozen=True)
class Material:
    """What an ensemble learns from, and what it votes on.

    Attributes:
        train: Labelled examples.
        unlabelled: Examples without labels.
    """

    train: tuple[Example, ...]
    unlabelled: tuple[Example, ...]

    @classmethod
    def of(cls, data: Batches) -> "Material":
        """The examples in batches of labelled texts with unlabelled ones beside them.

        Raises:
            UsageError: There is nothing unlabelled beside them.
        """
        if not isinstance(data, WithUnlabelled):
            raise UsageError("an ensemble's student learns from unlabelled texts; fit it on a task that has some.")
        return cls(examples_of(data.labelled), examples_of(data.unlabelled))

    @property
    def labels(self) -> Tensor:
        """(N,) of the training examples."""
        return torch.tensor([example.label for example in self.train])


def examples_of(data: Batches) -> tuple[Example, ...]:
    """All texts of some batches, in order; where they are shuffled and drop their last batch, of several epochs."""
    found: dict[int, Example] = {}
    epoch = 0
    while len(found) < data.size:
        for batch in data.epoch(epoch):
            found |= dict(zip(batch.index.tolist(), _of_batch(batch), strict=True))
        epoch += 1
    return tuple(found[position] for position in range(data.size))


def _of_batch(batch: Batch) -> list[Example]:
    return [Example(text, label) for text, label in zip(texts_of(batch), batch.labels.tolist(), strict=True)]
