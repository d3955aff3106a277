"""TrainConfig: how a learner is trained, and the learning rate of every epoch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from vlprompt.config import Count, CountOrZero, NonNegative, Positive, Settings, Share
from vlprompt.data.transforms import views_per_image

Optimizer = Literal["sgd", "adam", "adamw", "adamw-early-eps"]


@dataclass(frozen=True)
class TrainConfig(Settings):
    """Training settings; the defaults are those of the CoOp family (Dassl.pytorch, dassl/config/defaults.py).

    Attributes:
        epochs: Passes over the training set; 0 for methods that are solved, not trained.
        steps: The largest number of steps; 0: no limit.
        batch_size: Images a step; the last incomplete batch is dropped where there is a complete one.
        lr: Learning rate.
        optimizer: "sgd", "adam", "adamw" or "adamw-early-eps" (eps is added before the second moment is corrected for
            its start at 0, so that it has more weight in the first steps; older versions of transformers, VPT).
        momentum: Of SGD.
        weight_decay: Added to the gradient of the prompts (decoupled for "adamw").
        no_decay: What the names of parameters without weight decay end with; "" for no such parameters.
        eps: Of "adam" and "adamw", added to the denominator.
        schedule: "cosine" over the whole training after the warm-up, "quarter-cosine" (from its crest to near zero,
            one epoch late, so that two epochs have the full rate; CODA-Prompt), "linear" down to `lr_end`, "constant",
            "cosine-to-end" (over the epochs after the warm-up, so that it reaches `lr_end`; VPT), or "cosine-by-step":
            warm-up and cosine count steps as if they were epochs, and so fall and rise again and again (a fault of
            released code).
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

    epochs: CountOrZero = 50
    steps: CountOrZero = 0
    batch_size: Count = 32
    lr: Positive = 0.002
    optimizer: Optimizer = "sgd"
    momentum: NonNegative = 0.9
    weight_decay: NonNegative = 5e-4
    no_decay: Literal["", "head.bias", "bias"] = ""
    eps: NonNegative = 1e-8
    schedule: Literal["cosine", "cosine-to-end", "quarter-cosine", "linear", "constant", "cosine-by-step"] = "cosine"
    per_step: bool = False
    lr_end: NonNegative = 0.0
    warmup: Literal["constant", "linear", "none"] = "constant"
    warmup_epochs: CountOrZero = 1
    warmup_lr: NonNegative = 1e-5
    clip_norm: NonNegative = 0.0
    augment: str = "paper"
    crop: Share = 0.08
    seed: int = 1

    def __post_init__(self) -> None:
        """Raise UsageError for values that cannot work, before anything is loaded."""
        super().__post_init__()
        views_per_image(self.augment)


@dataclass(frozen=True)
class Variant:
    """A published setting of a method.

    Attributes:
        config: The method's settings.
        recipe: The training settings; or a function of (shots, data set name), where they depend on these.
        source: Where it was published.
    """

    config: Any
    recipe: TrainConfig | Callable[[int, str], TrainConfig] = TrainConfig()
    source: str = ""

    def training(self, shots: int, dataset: str = "") -> TrainConfig:
        """The training settings for a number of shots and a data set of the catalogue."""
        return self.recipe(shots, dataset) if callable(self.recipe) else self.recipe


NO_TRAINING = TrainConfig(epochs=0, augment="none")  # of methods that are solved or used as they are
