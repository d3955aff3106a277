"""TrainConfig: how a learner is trained, and the learning rate of every epoch."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from vlprompt.errors import UsageError, unknown

Optimizer = Literal["sgd", "adam", "adamw"]
Schedule = Literal["cosine", "quarter-cosine", "linear", "constant", "cosine-by-step"]
Warmup = Literal["constant", "linear", "none"]


@dataclass(frozen=True)
class TrainConfig:
    """Training settings; the defaults are those of the CoOp family (Dassl.pytorch, dassl/config/defaults.py).

    Attributes:
        epochs: Passes over the training set; 0 for methods that are solved, not trained.
        steps: Stop after so many steps at the latest; 0: no limit.
        batch_size: Images a step; the last incomplete batch is dropped where there is a complete one.
        lr: Learning rate.
        optimizer: "sgd", "adam" or "adamw".
        momentum: Of SGD.
        weight_decay: Added to the gradient of the prompts (decoupled for "adamw").
        eps: Of "adam" and "adamw", added to the denominator.
        schedule: "cosine" over the whole training after the warm-up, "quarter-cosine" (from its crest to near zero;
            CODA-Prompt), "linear" down to `lr_end`, "constant", or "cosine-by-step": warm-up and cosine count steps as
            if they were epochs, and so fall and rise again and again (a slip in released code).
        per_step: The schedule moves with every step, not with every epoch.
        lr_end: What the cosine or the line comes down to.
        warmup: "constant" at `warmup_lr`, "linear" from it, or "none".
        warmup_epochs: How long the warm-up lasts.
        warmup_lr: Its (first) learning rate.
        clip_norm: Largest gradient norm; 0 leaves gradients alone.
        augment: "paper" (random crop and flip, each image encoded anew every epoch), "none" (the test transform), or
            "cached:K" (K random views of each image, encoded once).
        crop: The smallest share of an image's area that a random crop keeps.
        seed: Of the order of images, their augmentation and the start of the prompts.
    """

    epochs: int = 50
    steps: int = 0
    batch_size: int = 32
    lr: float = 0.002
    optimizer: Optimizer = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    eps: float = 1e-8
    schedule: Schedule = "cosine"
    per_step: bool = False
    lr_end: float = 0.0
    warmup: Warmup = "constant"
    warmup_epochs: int = 1
    warmup_lr: float = 1e-5
    clip_norm: float = 0.0
    augment: str = "paper"
    crop: float = 0.08
    seed: int = 1

    def __post_init__(self) -> None:
        """Raise UsageError for values that cannot work, before anything is loaded."""
        for name, allowed in (("optimizer", Optimizer), ("schedule", Schedule), ("warmup", Warmup)):
            if getattr(self, name) not in get_args(allowed):
                raise unknown(name, str(getattr(self, name)), get_args(allowed))
        if self.epochs < 0 or self.batch_size < 1 or not self.lr > 0:
            raise UsageError(
                f"epochs {self.epochs}, batch_size {self.batch_size}, lr {self.lr}: epochs must be 0 or more, "
                "batch_size 1 or more, lr above 0."
            )
        for name in ("steps", "momentum", "weight_decay", "eps", "lr_end", "warmup_epochs", "warmup_lr", "clip_norm"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name} {getattr(self, name)} must be 0 or more.")
        if not 0 < self.crop <= 1:
            raise UsageError(f"crop {self.crop} must be a share of the image, above 0 and at most 1.")
        views_per_image(self.augment)


def views_per_image(augment: str) -> int:
    """How many views of an image an augmentation makes ahead: 1 for "none", K for "cached:K", 0 for "paper".

    Raises:
        UsageError: It is none of these.
    """
    fixed = {"paper": 0, "none": 1}
    if augment in fixed:
        return fixed[augment]
    kind, _, count = augment.partition(":")
    if kind == "cached" and count.isdecimal() and int(count) > 0:
        return int(count)
    raise UsageError(f"augment {augment!r} is not known; give 'paper', 'none' or 'cached:K' for K views ('cached:8').")


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
        fall = math.cos(0.99 * math.pi / 2 * (epoch - warmup) / max(whole - 1, 1))
    else:
        fall = (1 + math.cos(math.pi * (epoch - warmup) / whole)) / 2
    return config.lr_end + (config.lr - config.lr_end) * fall
