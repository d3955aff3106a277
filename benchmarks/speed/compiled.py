"""Whether torch.compile pays: a training step without it, and with a compiled loss.

CoOp and CLIP-Adapter on stored features and VPT-deep on images, ViT-B/16 with random weights, as in `roofline`; torch's
own compiler with its defaults and an empty cache. Loss and gradients must agree. `gained` is the step's time divided by
the compiled step's; `pays_after_steps` is the number of steps that save the seconds of compiling (0: never).
"""

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.speed import roofline
from benchmarks.speed.common import models
from benchmarks.speed.common.baseline import difference
from benchmarks.speed.common.measure import in_turn
from benchmarks.speed.common.records import Record, misses
from vlprompt import methods
from vlprompt.backbones import Clip, Vit
from vlprompt.data.batch import Batch
from vlprompt.learner import PromptLearner

FAST_MATMUL = True
LEARNERS = ("coop", "clip_adapter", "vpt")
AGREEMENT = 1e-4


def run(quick: bool = False) -> Iterator[Record]:
    """Compile and time each learner's step."""
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)  # it logs every graph break
    sizes = roofline.QUICK if quick else roofline.FULL
    backbones: dict[type, Any] = {Clip: models.clip(quick), Vit: models.vit_base(quick)}
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, TORCHINDUCTOR_CACHE_DIR=folder):
        for name in LEARNERS:
            learner = roofline.built(name, backbones[methods.learner_class(name).backbones[0]], sizes).train()
            batch = roofline.batch_for(learner, sizes)
            yield measured(learner, batch, rounds=2 if quick else 10, backend="eager" if quick else "inductor")


def measured(learner: PromptLearner[Any, Any], batch: Batch, *, rounds: int, backend: str) -> Record:
    """Both sides in turn."""
    compiled = torch.compile(learner.loss, backend=backend)
    began = time.perf_counter()
    step(learner, compiled, batch)
    compiling = time.perf_counter() - began
    sides = [(lambda: step(learner, learner.loss, batch), 1), (lambda: step(learner, compiled, batch), 1)]
    (own, (loss, gradients)), (fast, (compiled_loss, compiled_gradients)) = in_turn(sides, rounds)
    figures = {
        "ours_s": own,
        "compiled_s": fast,
        "gained": own / fast,
        "compiling_s": compiling,
        "pays_after_steps": compiling / (own - fast) if fast < own else 0.0,
        "loss_apart": abs(compiled_loss / loss - 1),
        "gradient_apart": max(difference(a, b) for a, b in zip(compiled_gradients, gradients, strict=True)),
    }
    about = {"model": learner.backbone.name, "learner": learner.method(), "batch": len(batch), "rounds": rounds}
    most = {"loss_apart": AGREEMENT, "gradient_apart": AGREEMENT}
    return Record("compiled", about, figures, misses(figures, least={}, most=most))


def step(
    learner: PromptLearner[Any, Any], loss_of: Callable[[Batch], Tensor], batch: Batch
) -> tuple[float, list[Tensor]]:
    """A training step up to the gradients: the loss, and the gradients of the trainable parameters."""
    learner.zero_grad()
    loss = loss_of(batch)
    loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach()), [p.grad for p in learner.trainable().values() if p.grad is not None]
