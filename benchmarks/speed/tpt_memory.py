"""Peak resident memory of a process that tunes images with TPT: ViT-B/16, 1,000 classes, 64 views, both towers.

    python -m benchmarks.speed.tpt_memory [--quick]

To be run in a process of its own, since a peak does not come down again.
"""

import sys
import time
from collections.abc import Iterator

import torch

from benchmarks.speed.measure import Record, main, peak_memory_gb
from benchmarks.speed.models import model
from benchmarks.speed.names import names
from vlprompt.data.batch import Batch
from vlprompt.learners import TPT

VIEWS, IMAGES = 64, 4
MOST_GB = 6.0


def run(quick: bool = False) -> Iterator[Record]:
    """Encode views, tune a few images together and read the peak."""
    classes = 50 if quick else 1000
    clip = model(quick)
    loaded = peak_memory_gb()
    learner = TPT(clip, names(classes))
    random, size = torch.Generator().manual_seed(0), clip.preprocess.size
    began = time.perf_counter()
    with torch.no_grad():
        features = clip.encode_image(torch.randn(VIEWS, 3, size, size, generator=random))  # (V, E)
    spread = torch.randn(IMAGES, *features.shape, generator=random) * features.std() / 10
    index = torch.arange(IMAGES)
    learner.predict(Batch(torch.full_like(index, -1), index, views=features + spread))
    seconds, peak = time.perf_counter() - began, peak_memory_gb()
    about = {"model": clip.name, "classes": classes, "views": VIEWS, "images": IMAGES}
    missed = [f"peak_gb is {peak:.3g}, wanted under {MOST_GB:g}"] * (peak >= MOST_GB)
    yield Record("tpt_memory", about, {"peak_gb": peak, "loaded_gb": loaded, "seconds": seconds}, missed)


if __name__ == "__main__":
    sys.exit(main(run))
