"""One epoch of gradient steps: what `fit` does again and again, and methods that train models of their own inside."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from vlprompt.data.loaders import Batches
from vlprompt.errors import VlpromptError, out_of_memory
from vlprompt.learners.base import PromptLearner
from vlprompt.parallel import ALONE, Team
from vlprompt.recipe import TrainConfig, rate_at


def length_of(data: Batches, config: TrainConfig) -> float:
    """How long a training is in epochs, the last perhaps not whole."""
    return min(config.epochs, (config.steps or math.inf) / len(data))


def train_one_epoch(
    learner: PromptLearner[Any],
    data: Batches,
    config: TrainConfig,
    optimizer: torch.optim.Optimizer,
    *,
    epoch: int,
    length: float,
    team: Team = ALONE,
) -> float:
    """One pass over the data, or what is left of a training of `length` epochs; the mean loss.

    Raises:
        VlpromptError: The loss is not finite, or memory runs out.
    """
    left = round((length - epoch) * len(data))
    parameters = list(learner.trainable().values())
    losses: list[Tensor] = []
    advice = (
        f"with batches of {config.batch_size}; lower batch_size, or the backbone's chunk_tokens (text tokens at once), "
        "or use precision bf16."
    )
    stream = config.seed * 1_000_003 + epoch + team.rank * 2**40
    with own_randomness(stream, learner.backbone.device), out_of_memory(advice):
        for step, batch in enumerate(islice(data.epoch(epoch), left)):
            for group in optimizer.param_groups:
                group["lr"] = rate_at(config, epoch, step, len(data), length)
            optimizer.zero_grad(set_to_none=True)
            losses.append(team.backward(learner, batch.to(learner.backbone.device)))
            if config.clip_norm:
                nn.utils.clip_grad_norm_(parameters, config.clip_norm)
            optimizer.step()
    values = torch.stack(losses).cpu()  # one wait for the device an epoch, not one a step
    if not values.isfinite().all():
        step = int((~values.isfinite()).nonzero()[0])
        rate = rate_at(config, epoch, step, len(data), length)
        raise VlpromptError(
            f"the loss is {float(values[step])} at epoch {epoch + 1}, step {step + 1} (lr {rate:g}, "
            f"batch {config.batch_size}); try a tenth of the learning rate, clip_norm=1, or precision fp32."
        )
    return float(values.double().mean())


def make_optimizer(parameters: list[nn.Parameter], config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser of a configuration, torch's own."""
    parameters = parameters or [nn.Parameter(torch.zeros(0))]  # zero-shot learns nothing; torch wants a list of some
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, lr=config.lr, weight_decay=config.weight_decay, eps=config.eps)


def train_inside(learner: PromptLearner[Any], data: Batches, config: TrainConfig) -> None:
    """Train a learner that another one holds, from beginning to end; leaves it in evaluation mode.

    Raises:
        VlpromptError: The loss is not finite, or memory runs out.
    """
    optimizer, length = make_optimizer(list(learner.trainable().values()), config), length_of(data, config)
    learner.train()
    with torch.enable_grad():
        for epoch in range(math.ceil(length)):
            train_one_epoch(learner, data, config, optimizer, epoch=epoch, length=length)
    learner.eval()


@contextmanager
def own_randomness(stream: int, device: torch.device) -> Iterator[None]:
    """Dropout and the like draw from a stream of their own; the caller's is left as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(stream)
        yield
