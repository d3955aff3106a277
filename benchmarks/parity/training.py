"""Train as a case was trained, through vlprompt's own `fit`, and note every step."""

import re
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.parity.case import Case, CaseError
from benchmarks.parity.compare import Answer
from vlprompt.backbones import Clip
from vlprompt.data.batch import Batch
from vlprompt.data.loaders import Batches
from vlprompt.learners.base import PromptLearner, Reads
from vlprompt.recipe import TrainConfig
from vlprompt.train import fit

DEFAULT_BETAS = [0.9, 0.999]
ADAM_NOISE = 1e-5  # see suggested_tolerances of the manifest


@dataclass(frozen=True)
class Trace:
    """What happened at every step of a training.

    Attributes:
        losses: The loss before each step, as training used it.
        rates: The learning rate that the optimiser applied.
        states: The learned tensors after each step, by name.
    """

    losses: list[Tensor] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    states: list[dict[str, Tensor]] = field(default_factory=list)

    def stacked(self, name: str) -> Tensor:
        """One learned tensor after every step, (steps, ...)."""
        return torch.stack([state[name] for state in self.states])


def train_config(case: Case, *, epochs: int, batch_size: int) -> TrainConfig:
    """The training settings that a case's hyperparameters spell out.

    Raises:
        CaseError: They ask for what vlprompt's training does not offer.
    """
    hyper = case.hyper
    if hyper.get("dampening", 0) or hyper.get("nesterov", False):
        raise CaseError("dampening and nesterov are not offered by vlprompt's training")
    if list(hyper.get("betas", DEFAULT_BETAS)) != DEFAULT_BETAS:
        raise CaseError(f"betas {hyper['betas']} are not offered by vlprompt's training")
    return TrainConfig(
        epochs=epochs,
        batch_size=batch_size,
        lr=float(hyper["lr"]),
        optimizer=str(hyper.get("optimizer", "sgd")).lower(),  # type: ignore[arg-type]
        momentum=float(hyper.get("momentum", 0.0)),
        weight_decay=float(hyper.get("weight_decay", 0.0)),
        eps=float(hyper.get("eps", 1e-8)),
        augment="none",
        **_schedule(str(hyper.get("lr_schedule", "none"))),
    )


def _schedule(words: str) -> dict[str, Any]:
    """The schedule out of words such as "cosine over max_epoch = epochs, 1 constant warm-up epoch at 1e-5, ..."."""
    if "cosine" not in words:
        return {"schedule": "constant", "warmup": "none"}
    warmup = re.search(r"(\d+) (constant|linear) warm-?up epochs?(?: at| from)?\s*([\d.e+-]*\d)?", words)
    if warmup is None:
        return {"schedule": "cosine", "warmup": "none"}
    first = {"warmup_lr": float(warmup[3])} if warmup[3] else {}
    return {"schedule": "cosine", "warmup": warmup[2], "warmup_epochs": int(warmup[1]), **first}


def trace(learner: PromptLearner[Any], data: Batches, config: TrainConfig) -> Trace:
    """Run `fit` and note losses, learning rates and learned tensors step by step."""
    noted = Trace()
    backward = learner.backward

    def noting_backward(batch: Batch) -> Tensor:
        loss = backward(batch)
        noted.losses.append(loss.detach().clone())
        return loss

    def after_step(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        noted.rates.append(float(optimizer.param_groups[0]["lr"]))
        noted.states.append({name: p.detach().clone() for name, p in learner.trainable().items()})

    hook = register_optimizer_step_post_hook(after_step)
    learner.backward = noting_backward  # type: ignore[method-assign]
    try:
        fit(learner, data, config)
    finally:
        hook.remove()
        del learner.backward
    return noted


def where_told(config: TrainConfig, states: Tensor, gradient: Tensor) -> Answer:
    """Learned tensors (steps, ...), for Adam only where the first gradient is above rounding: its steps are by sign."""
    if config.optimizer == "sgd":
        return Answer(states)
    told = (gradient.abs() > ADAM_NOISE).expand_as(states).numpy()
    return Answer(states, where=told, note=f"where the first gradient is above {ADAM_NOISE:g}")


def batch_of(clip: Clip, learner: PromptLearner[Any], images: Tensor, labels: Tensor | None = None) -> Batch:
    """(B, 3, H, W) images with what the learner reads of them."""
    index = torch.arange(len(images))
    labels = torch.full_like(index, -1) if labels is None else labels
    if learner.reads is Reads.IMAGES:
        return Batch(labels=labels, index=index, images=images)
    with torch.no_grad():
        return Batch(labels=labels, index=index, images=images, features=clip.encode_image(images))


def gradients(learner: PromptLearner[Any], batch: Batch) -> dict[str, Tensor]:
    """The gradients that a training step leaves on the learned tensors, by name; none are left behind."""
    learner.zero_grad()
    learner.backward(batch)
    found = {name: p.grad.clone() for name, p in learner.trainable().items() if p.grad is not None}
    learner.zero_grad()
    return found
