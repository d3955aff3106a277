"""Whether torch.compile would pay: a training step as it is, and with its loss compiled.

    python -m benchmarks.speed.compiled [--quick]

CoOp and CLIP-Adapter on stored features and VPT-deep on images, ViT-B/16 with random weights, as in `roofline`; torch's
own compiler with its defaults and an empty cache. Loss and gradients must agree. `gained` is the step's time over the
compiled step's, `pays_after_steps` how many steps make up for the seconds of compiling; 0: none ever do.
"""

import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.speed import roofline
from benchmarks.speed.measure import Record, in_turn, main, misses
from benchmarks.speed.models import model, vit
from benchmarks.speed.plain import difference
from vlprompt import learners
from vlprompt.backbones import Clip, Vit
from vlprompt.data.batch import Batch
from vlprompt.learners.base import PromptLearner

LEARNERS = ("coop", "clip_adapter", "vpt")
EXACT = 1e-4


def run(quick: bool = False) -> Iterator[Record]:
    """Compile and time each learner's step."""
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)  # it explains each place where it gives up
    sizes = roofline.QUICK if quick else roofline.FULL
    backbones = {Clip: model(quick), Vit: vit(quick)}
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, TORCHINDUCTOR_CACHE_DIR=folder):
        for name in LEARNERS:
            learner = roofline.built(name, backbones[learners.learner_class(name).takes[0]], sizes).train()
            batch = roofline.batch_for(learner, sizes)
            yield measured(learner, batch, rounds=2 if quick else 10, backend="eager" if quick else "inductor")


def measured(learner: PromptLearner[Any], batch: Batch, *, rounds: int, backend: str) -> Record:
    """Both ways in turn."""
    compiled = torch.compile(learner.loss, backend=backend)
    began = time.perf_counter()
    step(learner, compiled, batch)
    compiling = time.perf_counter() - began
    sides = [(lambda: step(learner, learner.loss, batch), 1), (lambda: step(learner, compiled, batch), 1)]
    (own, (loss, slopes)), (fast, (other, others)) = in_turn(sides, rounds)
    figures = {
        "ours_s": own,
        "compiled_s": fast,
        "gained": own / fast,
        "compiling_s": compiling,
        "pays_after_steps": compiling / (own - fast) if fast < own else 0.0,
        "loss_apart": abs(other / loss - 1),
        "gradient_apart": max(difference(a, b) for a, b in zip(others, slopes, strict=True)),
    }
    about = {"model": learner.backbone.name, "learner": learner.method(), "batch": len(batch), "rounds": rounds}
    return Record(
        "compiled", about, figures, misses(figures, least={}, most={"loss_apart": EXACT, "gradient_apart": EXACT})
    )


def step(learner: PromptLearner[Any], loss_of: Callable[[Batch], Tensor], batch: Batch) -> tuple[float, list[Tensor]]:
    """A training step up to the gradients: the loss, and the gradient of all that is learned."""
    learner.zero_grad()
    loss = loss_of(batch)
    loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach()), [p.grad for p in learner.trainable().values() if p.grad is not None]


if __name__ == "__main__":
    sys.exit(main(run, as_fit_does=True))
