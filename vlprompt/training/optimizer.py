"""Optimisers and learning-rate schedules."""

import math

import torch
from torch import nn

from vlprompt.training.config import TrainConfig


def make_optimizer(parameters: list[nn.Parameter], config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser of a configuration, torch's own."""
    parameters = parameters or [nn.Parameter(torch.zeros(0))]  # torch refuses an empty list
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, lr=config.lr, weight_decay=config.weight_decay, eps=config.eps)


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
        fall = (1 + math.cos(math.pi * (epoch - warmup) / whole)) / 2
    return config.lr_end + (config.lr - config.lr_end) * fall
