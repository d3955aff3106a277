"""Train with a case's settings through vlprompt's own `fit`, and record every step."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.parity.case import Case, CaseError
from benchmarks.parity.compare import Answer
from vlprompt.backbones import Clip
from vlprompt.data.batch import Batch
from vlprompt.data.batches import Batches
from vlprompt.data.needs import Input
from vlprompt.data.templates import readable
from vlprompt.learner import PromptLearner
from vlprompt.training.config import TrainConfig
from vlprompt.training.fit import fit

Learner = PromptLearner[Any, Any]
DEFAULT_BETAS = [0.9, 0.999]
ADAM_NOISE = 1e-5  # see suggested_tolerances of the manifest


@dataclass(frozen=True)
class Trace:
    """Every step of a training.

    Attributes:
        losses: The loss before each step, as training used it.
        rates: The learning rate that the optimiser applied.
        gradients: Those that each step used, by the names of the parameters.
        states: The trainable parameters after each step, by name.
    """

    losses: list[Tensor] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    gradients: list[dict[str, Tensor]] = field(default_factory=list)
    states: list[dict[str, Tensor]] = field(default_factory=list)

    def stacked(self, name: str) -> Tensor:
        """One parameter after every step, (steps, ...)."""
        return torch.stack([state[name] for state in self.states])

    def per_step(self) -> dict[str, Tensor]:
        """Losses and learning rates, under the goldens' names."""
        return {"loss_steps": torch.stack(self.losses), "lr_steps": torch.tensor(self.rates, dtype=torch.float64)}


def train_config(case: Case, *, epochs: int, batch_size: int) -> TrainConfig:
    """The training settings of a case's hyperparameters; CaseError where vlprompt does not have one of them."""
    hyper = case.hyper
    if hyper.get("dampening", 0) or hyper.get("nesterov", False):
        raise CaseError("vlprompt's training has no dampening and no nesterov")
    if list(hyper.get("betas", DEFAULT_BETAS)) != DEFAULT_BETAS:
        raise CaseError(f"vlprompt's training has the betas {DEFAULT_BETAS} only, not {hyper['betas']}")
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
    """The schedule of a text such as "cosine over max_epoch = epochs, 1 constant warm-up epoch at 1e-5, ..."."""
    if "cosine" not in words:
        return {"schedule": "constant", "warmup": "none"}
    if "cosine per step" in words:
        end = re.search(r", to ([\d.e+-]+)", words)
        return {"schedule": "cosine", "warmup": "none", "per_step": True, "lr_end": float(end[1]) if end else 0.0}
    warmup = re.search(r"(\d+) (constant|linear) warm-?up epochs?(?: at| from)?\s*([\d.e+-]*\d)?", words)
    if warmup is None:
        return {"schedule": "cosine", "warmup": "none"}
    first = {"warmup_lr": float(warmup[3])} if warmup[3] else {}
    return {"schedule": "cosine", "warmup": warmup[2], "warmup_epochs": int(warmup[1]), **first}


class OneBatch(Batches):
    """A training set that is one batch."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch.labels, batch_size=len(batch))
        self.batch = batch

    def epoch(self, number: int) -> Iterator[Batch]:  # noqa: ARG002
        """Yield the batch."""
        yield self.batch


class OrderedBatches(Batches):
    """A training set whose batches have the stored order.

    Attributes:
        order: (epochs, batches, examples), the positions of each batch; the epochs repeat.
        make: The batch of some positions in an epoch.
    """

    def __init__(self, labels: Tensor, order: Tensor, make: Callable[[Tensor, int], Batch]) -> None:
        super().__init__(labels, batch_size=order.shape[2])
        self.order, self.make = order, make

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self.order.shape[1]

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of one epoch."""
        for index in self.order[number % len(self.order)]:
            yield self.make(index, number)


def in_order(whole: Batch, size: int, count: int) -> OrderedBatches:
    """The first `count` batches of `size` examples, the same in every epoch."""
    order = torch.arange(size * count).reshape(1, count, size)
    return OrderedBatches(whole.labels, order, lambda index, _: whole.part(index))


def trace(learner: Learner, data: Batches, config: TrainConfig, *, val: Batches | None = None) -> Trace:
    """Run `fit` and record losses, learning rates, gradients and trainable parameters of every step."""
    recorded = Trace()
    backward = learner.backward

    def recording_backward(batch: Batch) -> Tensor:
        loss = backward(batch)
        recorded.losses.append(loss.detach().clone())
        return loss

    def after_step(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        recorded.rates.append(float(optimizer.param_groups[0]["lr"]))
        graded = {name: p.grad for name, p in learner.trainable().items() if p.grad is not None}
        recorded.gradients.append({name: gradient.detach().clone() for name, gradient in graded.items()})
        recorded.states.append({name: p.detach().clone() for name, p in learner.trainable().items()})

    hook = register_optimizer_step_post_hook(after_step)
    learner.backward = recording_backward  # type: ignore[method-assign]
    try:
        fit(learner, data, config, val=val)
    finally:
        hook.remove()
        del learner.backward
    return recorded


def above_noise(states: Tensor, gradient: Tensor) -> Answer:
    """Parameters (steps, ...) after steps of Adam, where the first gradient exceeds rounding errors.

    Adam's first step depends on the gradient's sign only.
    """
    where = (gradient.abs() > ADAM_NOISE).expand_as(states).numpy()
    return Answer(states, where=where, note=f"where the first gradient is above {ADAM_NOISE:g}")


def after_steps(config: TrainConfig, states: Tensor, gradient: Tensor) -> Tensor | Answer:
    """Parameters (steps, ...) after training, for Adam and AdamW without entries that rounding decides."""
    return states if config.optimizer == "sgd" else above_noise(states, gradient)


def batch_of(clip: Clip, learner: Learner, images: Tensor, labels: Tensor | None = None) -> Batch:
    """(B, 3, H, W) images as a batch with everything that the learner reads."""
    index = torch.arange(len(images))
    labels = torch.full_like(index, -1) if labels is None else labels
    if learner.needs.input is Input.IMAGES:
        return Batch(labels, index, images=images)
    with torch.no_grad():
        return Batch(labels, index, images=images, features=clip.encode_image(images))


def gradients(learner: Learner, batch: Batch) -> dict[str, Tensor]:
    """The gradients of a training step for the trainable parameters, by name; they are then cleared."""
    learner.zero_grad()
    learner.backward(batch)
    found = {name: p.grad.clone() for name, p in learner.trainable().items() if p.grad is not None}
    learner.zero_grad()
    return found


def name_lengths(clip: Clip, names: Sequence[str]) -> Tensor:
    """(C,) numbers of tokens of class names."""
    return torch.tensor([len(clip.tokenizer.pieces(readable(name))) for name in names])
