"""fit: train a learner's prompts. The training loop is this page; `resume.py` saves and continues interrupted runs."""

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from vlprompt.backbones.matmul import fast_matmul
from vlprompt.data import feed
from vlprompt.data.batches import Batches
from vlprompt.data.features import FeatureStore
from vlprompt.data.identity import Contents
from vlprompt.data.task import Task
from vlprompt.errors import UsageError, out_of_memory, warn
from vlprompt.learner import PromptLearner
from vlprompt.randomness import random_state
from vlprompt.training.callbacks import Callback
from vlprompt.training.config import TrainConfig
from vlprompt.training.distributed import SINGLE, Processes
from vlprompt.training.evaluate import check_arguments
from vlprompt.training.resume import Run, TrainReport


@fast_matmul()
@torch.enable_grad()
def fit(
    learner: PromptLearner[Any, Any],
    data: Task | Batches,
    config: TrainConfig,
    *,
    val: Batches | None = None,
    store: FeatureStore | None = None,
    callbacks: Sequence[Callback] = (),
    state: str | Path | None = None,
    workers: int = 0,
    processes: Processes = SINGLE,
) -> TrainReport:
    """Train a learner in place; the result is the prompt after the last step, as in the CoOp family.

    Args:
        learner: Any method.
        data: A task, whose training examples are augmented as `config.augment` says; or batches.
        config: Training settings, usually a method's `recipe`.
        val: Held-out batches for methods that choose something on them; a task has its own.
        store: Where features of frozen encoders are stored; the user's cache by default.
        callbacks: Called after every epoch with its loss, its learning rate and the share of time spent on waiting.
        state: A file from which an interrupted run continues, to the same bytes as without; deleted at the end.
        workers: Processes that decode images.
        processes: The processes that train this learner together, all of them with the same arguments.

    Raises:
        UsageError: An argument has another type; or several processes, and a learner whose batches cannot be shared.
        VlpromptError: The loss is not finite, memory runs out, or `state` belongs to another run.
    """
    began = time.perf_counter()
    _check(learner, data, config, processes)
    if not learner.needs.trains:
        return TrainReport((), 0.0, 0, 0)
    batches, known, own_val = _batches(learner, data, config, store, workers)
    learner.train().prepare(known or batches, own_val or val)
    run = Run(learner, config, batches, _identity(data, store, state), Path(state) if state else None, processes)
    for epoch in run.epochs():
        with random_state(run.stream(epoch), learner.backbone.device), out_of_memory(run.advice):
            for step, batch in enumerate(islice(batches.epoch(epoch), run.steps_left(epoch))):
                run.set_rate(epoch, step)
                run.optimizer.zero_grad(set_to_none=True)
                run.losses.append(processes.backward(learner, batch.to(learner.backbone.device)))
                run.clip_gradients()
                run.optimizer.step()
        loss = run.mean_loss(epoch)
        learner.end_epoch(epoch + 1, run.whole_epochs)
        run.finish_epoch(epoch, loss, callbacks)
    run.delete_state()
    learner.eval()
    return run.report(time.perf_counter() - began)


def _check(learner: PromptLearner[Any, Any], data: Task | Batches, config: TrainConfig, processes: Processes) -> None:
    """Raise UsageError for arguments that do not fit; warn where there is nothing to learn."""
    check_arguments("fit", learner, data)
    if not isinstance(config, TrainConfig):
        raise UsageError(f"fit: config is a {type(config).__name__}; give a TrainConfig, as vp.TrainConfig(epochs=50).")
    if len(learner.classes) == 1:
        warn("there is a single class, so every answer is that class and nothing can be learned; give two or more.")
    processes.check(learner)


def _identity(data: Task | Batches, store: FeatureStore | None, state: str | Path | None) -> str:
    """What identifies the training examples of a run that may be interrupted; batches have no identity."""
    if not state or not isinstance(data, Task):
        return ""
    return Contents(store or FeatureStore()).split_hash(replace(data, test=()))


def _batches(
    learner: PromptLearner[Any, Any],
    data: Task | Batches,
    config: TrainConfig,
    store: FeatureStore | None,
    workers: int,
) -> tuple[Batches, Batches | None, Batches | None]:
    """Batches to train on; and of a task also examples in order and held-out ones, where the learner needs them."""
    if not isinstance(data, Task):
        return data, None, None
    reads = (learner.needs, learner.backbone, data, config, store or FeatureStore())
    return feed.train_batches(*reads, workers=workers), *feed.ordered_batches(*reads, workers=workers)
