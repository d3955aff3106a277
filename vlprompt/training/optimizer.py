"""Optimisers and learning-rate schedules."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from vlprompt.training.config import TrainConfig


def make_optimizer(named: Mapping[str, nn.Parameter], config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser of a configuration, torch's own, for parameters by name."""
    spared = [name for name in named if config.no_decay and name.endswith(config.no_decay)]
    parameters: list[Any] = [p for name, p in named.items() if name not in spared]
    parameters = parameters or [nn.Parameter(torch.zeros(0))]  # torch refuses an empty list
    if spared:
        rest = {"params": [named[name] for name in spared], "weight_decay": 0.0}
        parameters = [{"params": parameters}, rest]
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    optimizer = kind(parameters, lr=config.lr, weight_decay=config.weight_decay, eps=config.eps)
    if config.optimizer == "adamw-early-eps":
        optimizer.register_step_pre_hook(_weigh_eps)
    return optimizer


def _weigh_eps(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Before a step, set eps to eps / sqrt(1 - b2^t), which torch's AdamW adds to sqrt(v / (1 - b2^t))."""
    for group in optimizer.param_groups:
        done = max((float(optimizer.state[p]["step"]) for p in group["params"] if optimizer.state[p]), default=0.0)
        group["eps"] = optimizer.defaults["eps"] / math.sqrt(1 - group["betas"][1] ** (done + 1))


def rate_at(config: TrainConfig, epoch: int, step: int, steps: int, epochs: float = 0) -> float:
    """The learning rate of a step, both counted from 0.

    Args:
        config: Training settings.
        epoch: Epochs done.
        step: Steps done in this one.
        steps: Steps in an epoch.
        epochs: How long the training is, where it is not `config.epochs`.
    """
    if config.schedule == "cosine-by-step":
        return learning_rate(config, epoch * steps + step)
    return learning_rate(config, epoch + config.per_step * step / steps, epochs)


def learning_rate(config: TrainConfig, epoch: float, epochs: float = 0) -> float:
    """The learning rate in force during an epoch (counted from 0), or at a moment within one.

    After W warm-up epochs the cosine starts at its own epoch 0 and spans all E epochs, so it never comes down to 0:
    lr(e) = lr / 2 * (1 + cos(pi * (e - W) / E)), as Dassl's WARMUP_RECOUNT makes it.

    Args:
        config: Training settings.
        epoch: Epochs done, a fraction within one.
        epochs: E, where it is not `config.epochs` (a training limited in steps).
    """
    warmup = 0 if config.warmup == "none" else config.warmup_epochs
    if epoch < warmup:
        if config.warmup == "constant" or epoch == 0:
            return config.warmup_lr
        return config.lr * epoch / warmup
    if config.schedule == "constant":
        return config.lr
    whole = epochs or config.epochs
    if config.schedule == "linear":
        left = 1 - (epoch - warmup) / max(whole - warmup, 1e-9)
        return config.lr_end + (config.lr - config.lr_end) * max(left, 0.0)
    if config.schedule == "quarter-cosine":
        fall = math.cos(0.99 * math.pi / 2 * max(epoch - warmup - 1, 0) / max(whole - 1, 1))
    else:
        span = max(whole - warmup, 1) if config.schedule == "cosine-to-end" else whole
        fall = (1 + math.cos(math.pi * (epoch - warmup) / span)) / 2
    return config.lr_end + (config.lr - config.lr_end) * fall
