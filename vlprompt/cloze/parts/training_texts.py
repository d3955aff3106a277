"""Examples out of batches, for methods that read all of them before the first step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vlprompt.data.batch import texts_of
from vlprompt.data.batches import Batches
from vlprompt.data.images import Example
from vlprompt.errors import UsageError


@dataclass(frozen=True)
class TrainingTexts:
    """What an ensemble learns from.

    Attributes:
        labelled: Examples with labels.
        unlabelled: Examples without labels, which the ensemble labels.
        grown: How many of the labelled ones, the last, have a label from other models.
    """

    labelled: tuple[Example, ...]
    unlabelled: tuple[Example, ...]
    grown: int = 0

    @classmethod
    def of(cls, data: Batches) -> "TrainingTexts":
        """The examples of batches; UsageError where there are no unlabelled ones."""
        if data.unlabelled is None:
            raise UsageError("an ensemble's student learns from unlabelled texts; fit it on a task that has some.")
        return cls(examples_of(data), examples_of(data.unlabelled))

    @property
    def by_hand(self) -> tuple[Example, ...]:
        """The examples that were labelled by hand."""
        return self.labelled[: len(self.labelled) - self.grown]

    @property
    def labels(self) -> Tensor:
        """(N,) of the examples that were labelled by hand."""
        return torch.tensor([example.label for example in self.by_hand])


def examples_of(data: Batches) -> tuple[Example, ...]:
    """All texts of some batches, in order; shuffled batches, which drop the last of an epoch, are read repeatedly."""
    examples: dict[int, Example] = {}
    epoch = 0
    while len(examples) < len(data.labels):
        for batch in data.epoch(epoch):
            own = zip(batch.index.tolist(), texts_of(batch), batch.labels.tolist(), strict=True)
            examples |= {position: Example(text, label) for position, text, label in own}
        epoch += 1
    return tuple(examples[position] for position in range(len(data.labels)))
