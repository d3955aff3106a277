"""Peak resident memory of a process that adapts to images with TPT: ViT-B/16, 1,000 classes, 64 views, both towers.

It must run in its own process, since a peak never falls.
"""

import time
from collections.abc import Iterator

import torch

from benchmarks.speed.common import models
from benchmarks.speed.common.measure import peak_memory_gb
from benchmarks.speed.common.names import names
from benchmarks.speed.common.records import Record, misses
from vlprompt.data.batch import Batch
from vlprompt.learners import TPT

VIEWS, IMAGES = 64, 4
MOST_GB = 6.0


def run(quick: bool = False) -> Iterator[Record]:
    """Encode views, adapt to a few images together and read the peak."""
    classes = 50 if quick else 1000
    clip = models.clip(quick)
    loaded = peak_memory_gb()
    learner = TPT(clip, names(classes))
    random, size = torch.Generator().manual_seed(0), clip.preprocess.size
    began = time.perf_counter()
    with torch.no_grad():
        features = clip.encode_image(torch.randn(VIEWS, 3, size, size, generator=random))  # (V, E)
    spread = torch.randn(IMAGES, *features.shape, generator=random) * features.std() / 10
    index = torch.arange(IMAGES)
    learner.predict(Batch(torch.full_like(index, -1), index, views=features + spread))
    figures = {"peak_gb": peak_memory_gb(), "loaded_gb": loaded, "seconds": time.perf_counter() - began}
    about = {"model": clip.name, "classes": classes, "views": VIEWS, "images": IMAGES}
    yield Record("tpt_memory", about, figures, misses(figures, least={}, most={"peak_gb": MOST_GB}))
