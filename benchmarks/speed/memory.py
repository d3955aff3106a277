"""Peak resident memory of a process that takes one CoOp training step: ViT-B/16, 1,000 classes, M = 16, batch of 32.

It must run in its own process, since a peak never falls.
"""

import time
from collections.abc import Iterator

import torch

from benchmarks.speed.common import models
from benchmarks.speed.common.measure import peak_memory_gb
from benchmarks.speed.common.names import names
from benchmarks.speed.common.records import Record, misses
from vlprompt.data.batches import feature_batches
from vlprompt.learners import CoOp, CoOpConfig
from vlprompt.training.config import TrainConfig
from vlprompt.training.fit import fit

BATCH, CONTEXT = 32, 16
MOST_GB = 4.0


def run(quick: bool = False) -> Iterator[Record]:
    """Take the step and read the peak."""
    classes = 50 if quick else 1000
    clip = models.clip(quick)
    loaded = peak_memory_gb()
    learner = CoOp(clip, names(classes), CoOpConfig(n_ctx=CONTEXT))
    random = torch.Generator().manual_seed(0)
    features = torch.randn(BATCH, clip.embed_dim, generator=random)
    labels = torch.randint(classes, (BATCH,), generator=random)
    data = feature_batches(features, labels, batch_size=BATCH)
    began = time.perf_counter()
    fit(learner, data, TrainConfig(epochs=1, batch_size=BATCH, warmup="none", augment="none"))
    figures = {"peak_gb": peak_memory_gb(), "loaded_gb": loaded, "step_s": time.perf_counter() - began}
    about = {"model": clip.name, "classes": classes, "context": CONTEXT, "batch": BATCH}
    yield Record("memory", about, figures, misses(figures, least={}, most={"peak_gb": MOST_GB}))
