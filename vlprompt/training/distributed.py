"""One training by several processes (`torchrun`): each computes its part of every batch, and all take the same step.

Batches are functions of the seed, so all processes see the same ones. The gradient of a mean over B examples is the
mean of the parts' gradients, weighted by their sizes; up to rounding it equals that of one process. Only dropout masks
differ, since each part has its own. Only the first process writes files; it broadcasts what it has read.
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
from vlprompt.learner import PromptLearner

TIMEOUT = timedelta(days=7)  # the other processes wait while the first evaluates


@dataclass(frozen=True)
class Processes:
    """The processes that train together.

    Attributes:
        rank: The number of this process, from 0.
        size: How many processes there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def check(self, learner: PromptLearner[Any, Any]) -> None:
        """Raise UsageError for a learner whose gradient over a batch is not the mean of its parts' gradients."""
        if self.size > 1 and learner.needs.why_not_distributed:
            raise UsageError(
                f"{learner.method()} cannot be trained by {self.size} processes: {learner.needs.why_not_distributed}; "
                "run it without torchrun."
            )

    def align(self, tensors: Iterable[nn.Parameter]) -> None:
        """Wait for all processes, and give all of them the first one's values, to the last bit."""
        if self.size > 1:
            dist.barrier()
            for tensor in tensors:
                dist.broadcast(tensor.data, src=0)

    def backward(self, learner: PromptLearner[Any, Any], batch: Batch) -> Tensor:
        """Compute the gradients of the whole batch, and return its loss."""
        if self.size == 1:
            return learner.backward(batch)
        own = torch.arange(len(batch))[self.rank :: self.size]
        # A process without an example of its own computes the first one with weight 0: all must call all_reduce.
        loss = learner.backward(batch.part(own if len(own) else torch.arange(1)))
        weight = len(own) / len(batch)
        gradients = [parameter.grad for parameter in learner.trainable().values() if parameter.grad is not None]
        for work in [dist.all_reduce(each.mul_(weight), async_op=True) for each in (loss, *gradients)]:
            work.wait()
        return loss

    def broadcast_text(self, text: str) -> str:
        """The first process's text, in all of them."""
        if self.size == 1:
            return text
        content = torch.tensor(list(text.encode()), dtype=torch.uint8)
        length = torch.tensor(len(content))
        dist.broadcast(length, src=0)
        if not self.is_first:
            content = torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(content, src=0)
        return bytes(content.tolist()).decode()


SINGLE = Processes()


def current_processes() -> Processes:
    """The processes that were connected by `connected`; this process alone otherwise."""
    there = dist.is_available() and dist.is_initialized()
    return Processes(dist.get_rank(), dist.get_world_size()) if there else SINGLE


@contextmanager
def connected() -> Iterator[Processes]:
    """Connect the processes that `torchrun` has started, while open; without torchrun it does nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        yield current_processes()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())  # what "cuda" means from here
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT)
    try:
        yield current_processes()
    finally:
        dist.destroy_process_group()
