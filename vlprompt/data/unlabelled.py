"""Labelled batches with a batch of unlabelled examples beside each."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from torch import Tensor

from vlprompt.data.batch import Batch
from vlprompt.data.loaders import Batches


class WithUnlabelled:
    """An epoch is one of the labelled batches; the unlabelled start anew with it, and again when they run out.

    So Dassl.pytorch does it (`dassl/engine/trainer.py::TrainerXU.run_epoch` with COUNT_ITER "train_x"). Whatever the
    labelled and the unlabelled batches are functions of, these are: nothing else is random.

    Args:
        labelled: What decides how long an epoch is.
        domains: (N,) int64, the domain of each labelled example.
        unlabelled: What stands beside it; its labels are -1.
    """

    def __init__(self, labelled: Batches, domains: Tensor, unlabelled: Batches) -> None:
        self.labelled = labelled
        self.domains = domains
        self.unlabelled = unlabelled

    @property
    def size(self) -> int:
        """Examples in both."""
        return self.labelled.size + self.unlabelled.size

    @property
    def waited(self) -> float:
        """Seconds spent on reading and decoding, of both."""
        return self.labelled.waited + self.unlabelled.waited

    def __len__(self) -> int:
        return len(self.labelled)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The labelled batches of an epoch, each with its domains and its unlabelled batch."""
        passes = -(-len(self.labelled) // len(self.unlabelled))
        beside = chain.from_iterable(self.unlabelled.epoch(number * passes + each) for each in range(passes))
        for batch, other in zip(self.labelled.epoch(number), beside):  # noqa: B905  the last pass need not be used up
            yield replace(batch, domains=self.domains[batch.index], unlabelled=other)
