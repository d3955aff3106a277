"""One training by several processes (`torchrun`): each takes its share of every batch, and all take the same step.

Batches are functions of the seed, so every process sees the same ones. The gradient of a mean over B examples is the
mean of the gradients over the shares, weighted by their sizes; it is the same as one process's but for rounding. Only
masks of dropout differ, which are drawn for each share. What is written is written by the first process alone, and
the others are told what it found.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.learners.base import PromptLearner

PATIENCE = timedelta(days=7)  # the others wait while the first judges


@dataclass(frozen=True)
class Team:
    """The processes that train together.

    Attributes:
        rank: Which of them this is, from 0.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def check(self, learner: PromptLearner[Any]) -> None:
        """Raise UsageError for a learner whose gradient over a batch is no mean of its shares'."""
        if self.size > 1 and learner.keeps_whole_batches:
            raise UsageError(
                f"{learner.method()} cannot be trained by {self.size} processes: {learner.keeps_whole_batches}; run it "
                "without torchrun."
            )

    def align(self, tensors: Iterable[nn.Parameter]) -> None:
        """Go on only when everybody is here, and from the first process's values, to the last bit."""
        if self.size > 1:
            dist.barrier()
            for tensor in tensors:
                dist.broadcast(tensor.data, src=0)

    def backward(self, learner: PromptLearner[Any], batch: Batch) -> Tensor:
        """Leave the gradients of the whole batch on the learned tensors, return its loss."""
        if self.size == 1:
            return learner.backward(batch)
        own = torch.arange(len(batch))[self.rank :: self.size]
        # Where a batch is smaller than the team, some go through its first example for nothing, to stay in step.
        loss = learner.backward(batch.part(own if len(own) else torch.arange(1)))
        weight = len(own) / len(batch)
        gradients = [parameter.grad for parameter in learner.trainable().values() if parameter.grad is not None]
        for work in [dist.all_reduce(each.mul_(weight), async_op=True) for each in (loss, *gradients)]:
            work.wait()
        return loss

    def told(self, text: str) -> str:
        """What the first process says, for all of them."""
        if self.size == 1:
            return text
        content = torch.tensor(list(text.encode()), dtype=torch.uint8)
        length = torch.tensor(len(content))
        dist.broadcast(length, src=0)
        if not self.leads:
            content = torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(content, src=0)
        return bytes(content.tolist()).decode()


ALONE = Team()


def started() -> Team:
    """The team that has been brought together here; this process alone where none has."""
    return Team(dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else ALONE


@contextmanager
def together() -> Iterator[Team]:
    """Bring together the processes that `torchrun` has started, for as long as this lasts; without it, nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        yield started()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())  # what "cuda" means from here
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    try:
        yield started()
    finally:
        dist.destroy_process_group()
