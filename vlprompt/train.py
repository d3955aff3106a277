"""fit: train a learner's prompts, resumably."""

import hashlib
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlprompt import checkpoint, feed
from vlprompt.backbones.products import fast_products
from vlprompt.data.features import FeatureStore
from vlprompt.data.loaders import Batches
from vlprompt.data.task import Task
from vlprompt.errors import VlpromptError, warn
from vlprompt.learners.base import PromptLearner
from vlprompt.parallel import ALONE, Team
from vlprompt.recipe import TrainConfig, rate_at
from vlprompt.steps import length_of, make_optimizer, train_one_epoch
from vlprompt.track import Silent, Tracker

SAVE_SECONDS = 2.0  # an interrupted run loses at most about this much, or one epoch


@dataclass(frozen=True)
class TrainReport:
    """What happened during training.

    Attributes:
        losses: The mean loss of every epoch.
        seconds: Time spent, this run's part only.
        parameters: How many numbers were learned.
        resumed_from: The epoch an interrupted run was taken up at; 0 for a fresh one.
        waiting: The share of the epochs' time that went by while images were read and decoded.
    """

    losses: tuple[float, ...]
    seconds: float
    parameters: int
    resumed_from: int
    waiting: float = 0.0


@fast_products()
def fit(
    learner: PromptLearner[Any],
    data: Task | Batches,
    config: TrainConfig,
    *,
    val: Batches | None = None,
    store: FeatureStore | None = None,
    tracker: Tracker | None = None,
    state: str | Path | None = None,
    workers: int = 0,
    team: Team = ALONE,
) -> TrainReport:
    """Train a learner in place; the prompt after the last step is the result, as in the CoOp family.

    Args:
        learner: Any method.
        data: A task (its training images are fed as `config.augment` says), or batches.
        config: Training settings, usually a method's `recipe(shots)`.
        val: Held-out batches for methods that choose something on them; a task brings its own.
        store: Where features of frozen towers are kept; the user's cache by default.
        tracker: Who is told of every epoch: its loss and learning rate, and the share of the time so far that went by
            waiting for data.
        state: File to keep the state of an unfinished run in. With the file there, training goes on from its last
            epoch and ends in the same bytes as if it had never stopped; it is deleted at the end.
        workers: Processes that decode images.
        team: The processes that train this learner together, all of them with the same arguments.

    Raises:
        UsageError: Several processes, and a learner whose batches cannot be shared.
        VlpromptError: The loss is not finite, memory runs out, or `state` belongs to another run.
    """
    team.check(learner)
    began = time.perf_counter()
    if not learner.learns:
        return TrainReport((), 0.0, 0, 0)
    data, split = _prepared(learner, data, config, val, store, workers)
    run = _Run(learner, config, f"{split} {data.size}", Path(state) if state else None, team)
    losses, first = run.resume()
    clock = _Clock(data)
    length = length_of(data, config)
    _need_more_than_a_warmup(config, length, len(data))
    for epoch in range(first, math.ceil(length)):
        losses.append(train_one_epoch(learner, data, config, run.optimizer, epoch=epoch, length=length, team=team))
        learner.end_epoch(epoch + 1, math.ceil(length))
        rate = rate_at(config, epoch, 0, len(data), length)
        (tracker or Silent()).log(epoch + 1, loss=losses[-1], lr=rate, waiting=clock.waiting)
        run.keep(epoch + 1, losses)
    run.finish()
    learner.eval()
    return TrainReport(tuple(losses), time.perf_counter() - began, run.size, first, clock.waiting)


def _need_more_than_a_warmup(config: TrainConfig, length: float, steps: int) -> None:
    """Warn of a training that a limit of steps ends before its learning rate has come up; `length` in epochs."""
    if config.steps and config.warmup != "none" and length <= config.warmup_epochs:
        warn(
            f"{config.steps} steps end within the warm-up, which is {config.warmup_epochs * steps} steps here: the "
            f"learning rate never comes up from {config.warmup_lr:g} to {config.lr:g}; give more steps, larger batches "
            "or warmup_epochs=0."
        )


def _prepared(
    learner: PromptLearner[Any],
    data: Task | Batches,
    config: TrainConfig,
    val: Batches | None,
    store: FeatureStore | None,
    workers: int,
) -> tuple[Batches, str]:
    """Training batches, which the learner has looked at, and the hash of the split."""
    known, split = None, ""
    if isinstance(data, Task):
        store, split = store or FeatureStore(), data.split_hash
        known, own = feed.before_training(learner, data, config, store)
        val = own or val
        data = feed.training(learner, data, config, store, workers=workers)
    learner.train()
    learner.prepare(known or data, val)
    return data, split


class _Clock:
    """How much of the time since it was made went by waiting for data."""

    def __init__(self, data: Batches) -> None:
        self._data, self._before, self._began = data, data.waited, time.perf_counter()

    @property
    def waiting(self) -> float:
        """Between 0 and 1."""
        return (self._data.waited - self._before) / (time.perf_counter() - self._began)


class _Run:
    """An optimiser and the file that lets an interrupted run go on."""

    def __init__(
        self, learner: PromptLearner[Any], config: TrainConfig, data: str, path: Path | None, team: Team
    ) -> None:
        self.parameters = learner.trainable()
        self.size = sum(p.numel() for p in self.parameters.values())
        self.memory = learner.memory()
        self.optimizer = make_optimizer(list(self.parameters.values()), config)
        self.path = path
        self.team = team
        self.saved_at = time.monotonic()
        about = [
            learner.method(),
            asdict(learner.config),
            list(learner.classes),
            learner.backbone.fingerprint,
            asdict(config),
            data,
        ]
        self.identity = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]

    def resume(self) -> tuple[list[float], int]:
        """Losses so far and the epoch to begin with, everything else put back where it was, in all processes.

        Raises:
            VlpromptError: The file belongs to a run with other settings.
        """
        losses = self._read()
        self.team.align(self.parameters.values())
        return losses, len(losses)

    def _read(self) -> list[float]:
        """Losses so far, everything else put back where it was."""
        if self.path is None or not self.path.is_file():
            return []
        tensors, meta = checkpoint.load_state(self.path)
        if meta["identity"] != self.identity:
            raise VlpromptError(f"{self.path} is the state of a run with other settings; delete it or name another.")
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors.pop(f"prompt/{name}"))
            for name, value in self.memory.items():
                value.copy_(tensors.pop(f"memory/{name}"))
        for key, value in tensors.items():
            _, name, entry = key.split("/")
            held = value if entry == "step" else value.to(self.parameters[name].device)
            self.optimizer.state[self.parameters[name]][entry] = held
        return [float(x) for x in meta["losses"]]  # type: ignore[attr-defined]

    def keep(self, epoch: int, losses: list[float]) -> None:
        """Write the state, unless it was written a moment ago or another process does."""
        if self.path is None or not self.team.leads or time.monotonic() - self.saved_at < SAVE_SECONDS:
            return
        tensors = {f"prompt/{name}": p.detach().cpu() for name, p in self.parameters.items()}
        tensors |= {f"memory/{name}": value.cpu() for name, value in self.memory.items()}
        for name, parameter in self.parameters.items():
            for entry, value in self.optimizer.state[parameter].items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer/{name}/{entry}"] = value.detach().cpu()
        checkpoint.save_state(self.path, tensors, {"identity": self.identity, "epoch": epoch, "losses": losses})
        self.saved_at = time.monotonic()

    def finish(self) -> None:
        """The run is complete; its state is of no more use."""
        if self.path is not None and self.team.leads:
            self.path.unlink(missing_ok=True)
