"""Peak resident memory of a process that takes one full CoOp training step: ViT-B/16, 1,000 classes, M = 16, batch 32.

    python -m benchmarks.speed.memory [--quick]

To be run in a process of its own, since a peak does not come down again.
"""

import sys
import time
from collections.abc import Iterator

import torch

from benchmarks.speed.measure import Record, main, peak_memory_gb
from benchmarks.speed.models import model
from benchmarks.speed.names import names
from vlprompt.data.loaders import FeatureBatches
from vlprompt.learners import CoOp, CoOpConfig
from vlprompt.recipe import TrainConfig
from vlprompt.train import fit

BATCH, CONTEXT = 32, 16
MOST_GB = 4.0


def run(quick: bool = False) -> Iterator[Record]:
    """Take the step and read the peak."""
    classes = 50 if quick else 1000
    clip = model(quick)
    loaded = peak_memory_gb()
    learner = CoOp(clip, names(classes), CoOpConfig(n_ctx=CONTEXT))
    random = torch.Generator().manual_seed(0)
    features = torch.randn(BATCH, clip.embed_dim, generator=random)
    labels = torch.randint(classes, (BATCH,), generator=random)
    data = FeatureBatches(features, labels, batch_size=BATCH)
    began = time.perf_counter()
    fit(learner, data, TrainConfig(epochs=1, batch_size=BATCH, warmup="none", augment="none"))
    seconds, peak = time.perf_counter() - began, peak_memory_gb()
    about = {"model": clip.name, "classes": classes, "context": CONTEXT, "batch": BATCH}
    missed = [f"peak_gb is {peak:.3g}, wanted under {MOST_GB:g}"] * (peak >= MOST_GB)
    yield Record("memory", about, {"peak_gb": peak, "loaded_gb": loaded, "step_s": seconds}, missed)


if __name__ == "__main__":
    sys.exit(main(run))
