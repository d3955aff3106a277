"""Run: what a training holds besides the learner: optimiser, losses, and the file that lets it continue."""

import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from vlprompt import checkpoint
from vlprompt.data.batches import Batches
from vlprompt.errors import VlpromptError, warn
from vlprompt.learner import PromptLearner
from vlprompt.training.callbacks import Callback
from vlprompt.training.config import TrainConfig
from vlprompt.training.distributed import Processes
from vlprompt.training.optimizer import make_optimizer, rate_at

SAVE_SECONDS = 2.0  # an interrupted run loses at most about this much, or one epoch


@runtime_checkable
class Resumable(Protocol):
    """A learner with tensors, besides the saved ones, that an interrupted training needs."""

    def training_state(self) -> dict[str, Tensor]:
        """These tensors by name; they are written to in place."""


@dataclass(frozen=True)
class TrainReport:
    """What happened during training.

    Attributes:
        losses: The mean loss of every epoch.
        seconds: Time spent in this process, without what an interrupted run spent before.
        parameters: How many numbers were learned.
        resumed_from: The epoch after which an interrupted run was continued; 0 for a new run.
        waiting: The share of the time that was spent on waiting for images.
    """

    losses: tuple[float, ...]
    seconds: float
    parameters: int
    resumed_from: int
    waiting: float = 0.0


class Run:
    """An optimiser and the state of one training.

    Attributes:
        losses: Of the steps of the current epoch.
        length: Epochs to train, the last perhaps not whole.
        advice: What to lower where memory runs out.
    """

    def __init__(
        self,
        learner: PromptLearner[Any, Any],
        config: TrainConfig,
        data: Batches,
        split: str,
        path: Path | None,
        processes: Processes,
    ) -> None:
        self.config, self.data, self.path, self.processes = config, data, path, processes
        self.parameters = learner.trainable()
        self.state = learner.training_state() if isinstance(learner, Resumable) else {}
        self.optimizer = make_optimizer(self.parameters, config)
        by_steps = self.parameters or type(learner).backward is not PromptLearner.backward
        self.length = min(config.epochs, (config.steps or math.inf) / len(data)) if by_steps else 0
        self.advice = (
            f"with batches of {config.batch_size}; lower batch_size, or the backbone's chunk_tokens (text tokens at "
            "once), or use precision bf16."
        )
        self.losses: list[Tensor] = []
        self._identity = _identity(learner, config, f"{split} {data.size}")
        self._clock = _Clock(data)
        self._saved_at = time.monotonic()
        self._epoch_losses = self._read()
        self._resumed_from = len(self._epoch_losses)
        processes.align(self.parameters.values())
        self._warn_of_warmup()

    @property
    def whole_epochs(self) -> int:
        """Epochs to train, an incomplete last one included."""
        return math.ceil(self.length)

    def epochs(self) -> Iterator[int]:
        """The numbers of the epochs that are left, from 0."""
        for epoch in range(self._resumed_from, self.whole_epochs):
            self.losses = []
            yield epoch

    def steps_left(self, epoch: int) -> int:
        """Steps that are left when an epoch begins; a limit of steps may end within it."""
        return round((self.length - epoch) * len(self.data))

    def stream(self, epoch: int) -> int:
        """The seed of an epoch's random numbers (dropout), different in each process."""
        return self.config.seed * 1_000_003 + epoch + self.processes.rank * 2**40

    def rate(self, epoch: int, step: int) -> float:
        """The learning rate of a step."""
        return rate_at(self.config, epoch, step, len(self.data), self.length)

    def set_rate(self, epoch: int, step: int) -> None:
        """Give the optimiser the learning rate of a step."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(epoch, step)

    def clip_gradients(self) -> None:
        """Limit the norm of the gradient, where the settings ask for it."""
        if self.config.clip_norm:
            nn.utils.clip_grad_norm_(list(self.parameters.values()), self.config.clip_norm)

    def mean_loss(self, epoch: int) -> float:
        """The mean loss of an epoch.

        Raises:
            VlpromptError: The loss of a step is not finite.
        """
        values = torch.stack(self.losses).cpu()  # one wait for the device an epoch, not one a step
        if not values.isfinite().all():
            step = int((~values.isfinite()).nonzero()[0])
            raise VlpromptError(
                f"the loss is {float(values[step])} at epoch {epoch + 1}, step {step + 1} (lr "
                f"{self.rate(epoch, step):g}, batch {self.config.batch_size}); try a tenth of the learning rate, "
                "clip_norm=1, or precision fp32."
            )
        return float(values.double().mean())

    def finish_epoch(self, epoch: int, loss: float, callbacks: Sequence[Callback]) -> None:
        """Report an epoch, and save the state unless that was done a moment ago or another process does it."""
        self._epoch_losses.append(loss)
        for callback in callbacks:
            callback.epoch(epoch + 1, loss=loss, lr=self.rate(epoch, 0), waiting=self._clock.waiting)
        due = time.monotonic() - self._saved_at >= SAVE_SECONDS
        if self.path is not None and self.processes.is_first and due:
            meta = {"identity": self._identity, "epoch": epoch + 1, "losses": self._epoch_losses}
            checkpoint.save_state(self.path, self._tensors(), meta)
            self._saved_at = time.monotonic()

    def delete_state(self) -> None:
        """The run is complete; its state is not needed any more."""
        if self.path is not None and self.processes.is_first:
            self.path.unlink(missing_ok=True)

    def report(self, seconds: float) -> TrainReport:
        """What happened during training."""
        size = sum(parameter.numel() for parameter in self.parameters.values())
        return TrainReport(tuple(self._epoch_losses), seconds, size, self._resumed_from, self._clock.waiting)

    def _tensors(self) -> dict[str, Tensor]:
        """Everything that the run needs to continue."""
        tensors = {f"prompt/{name}": p.detach().cpu() for name, p in self.parameters.items()}
        tensors |= {f"memory/{name}": value.cpu() for name, value in self.state.items()}
        for name, parameter in self.parameters.items():
            for entry, value in self.optimizer.state[parameter].items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer/{name}/{entry}"] = value.detach().cpu()
        return tensors

    def _read(self) -> list[float]:
        """The losses of an interrupted run, after restoring everything else.

        Raises:
            VlpromptError: The file belongs to a run with other settings.
        """
        if self.path is None or not self.path.is_file():
            return []
        try:
            tensors, meta = checkpoint.load_state(self.path)
        except VlpromptError as error:
            warn(f"{str(error).rstrip('.')}; so the training starts from its beginning.")
            return []
        if meta["identity"] != self._identity:
            raise VlpromptError(f"{self.path} is the state of a run with other settings; delete it or name another.")
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors.pop(f"prompt/{name}"))
            for name, value in self.state.items():
                value.copy_(tensors.pop(f"memory/{name}"))
        for key, value in tensors.items():
            _, name, entry = key.split("/")
            held = value if entry == "step" else value.to(self.parameters[name].device)
            self.optimizer.state[self.parameters[name]][entry] = held
        return [float(x) for x in meta["losses"]]  # type: ignore[attr-defined]

    def _warn_of_warmup(self) -> None:
        """Warn of a limit of steps that ends a training before its learning rate has risen."""
        config, steps = self.config, len(self.data)
        if config.steps and config.warmup != "none" and self.length <= config.warmup_epochs:
            warn(
                f"{config.steps} steps end within the warm-up, which is {config.warmup_epochs * steps} steps here: the "
                f"learning rate stays at {config.warmup_lr:g} and does not reach {config.lr:g}; use more steps, larger "
                "batches or warmup_epochs=0."
            )


class _Clock:
    """The share of the time since it was created that was spent on waiting for data."""

    def __init__(self, data: Batches) -> None:
        self._data, self._before, self._began = data, data.waited, time.perf_counter()

    @property
    def waiting(self) -> float:
        """Between 0 and 1."""
        return (self._data.waited - self._before) / (time.perf_counter() - self._began)


def _identity(learner: PromptLearner[Any, Any], config: TrainConfig, data: str) -> str:
    """Sixteen hexadecimal digits that are equal only for runs with the same method, settings and data."""
    own = [learner.method(), asdict(learner.config), list(learner.classes), learner.backbone.fingerprint]
    return hashlib.sha256(json.dumps([*own, asdict(config), data], sort_keys=True).encode()).hexdigest()[:16]
