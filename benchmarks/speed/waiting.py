"""Waiting for images: the share of VPT's training time spent on reading, decoding and resizing images.

JPEG files of 500 x 375 pixels of noise (harder to decode than photos), ViT-Ti/16 at 224 pixels, one process. Measured
are a pass over the images, decoded again or kept in memory, whose tensors must be equal, and the share of waiting that
`fit` reports for plain images and for random crops.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.speed.common import models
from benchmarks.speed.common.records import Record, misses
from vlprompt.backbones import Vit
from vlprompt.data.batch import images_of
from vlprompt.data.batches import image_batches
from vlprompt.data.images import Example, Files
from vlprompt.data.pixel_cache import PixelCache
from vlprompt.data.transforms import Transform, test_transform, train_transform
from vlprompt.learners import VPT, VPTConfig
from vlprompt.training.config import TrainConfig
from vlprompt.training.fit import fit

FAST_MATMUL = True
TARGET = 0.10  # largest share of the time
MEMORY = 2**30  # bytes for decoded images
CLASSES = 10


def run(quick: bool = False) -> Iterator[Record]:
    """Measure passes over the images, then trainings."""
    sizes = {"embed_dim": 48, "depth": 2} if quick else {}
    vit, count = models.vit("vit_tiny_patch16_224", **sizes), 8 if quick else 64
    with tempfile.TemporaryDirectory() as folder:
        examples = photos(Path(folder), count)
        transforms = {"plain": test_transform(vit.preprocess), "random crops": train_transform(vit.preprocess)}
        for name, transform in transforms.items():
            yield passes(name, transform, examples)
            yield training(name, transform, examples, vit, epochs=2 if quick else 4, target=0.0 if quick else TARGET)


def photos(folder: Path, count: int) -> list[Example]:
    """Image files with different pixels."""
    random = np.random.default_rng(0)
    examples = []
    for number in range(count):
        path = folder / f"{number}.jpg"
        Image.fromarray(random.integers(0, 256, (375, 500, 3), dtype=np.uint8)).save(path, quality=90)
        examples.append(Example(path, number % CLASSES))
    return examples


def passes(name: str, transform: Transform, examples: list[Example]) -> Record:
    """Milliseconds per image, decoded again and kept; the tensors must be equal."""
    found: dict[str, tuple[float, Tensor]] = {}
    kept = PixelCache(MEMORY)
    for what, cache in (("decoded", PixelCache(0)), ("first", kept), ("kept", kept)):
        batches = image_batches(Files(), examples, transform, batch_size=32, seed=0, cache=cache)
        began = time.perf_counter()
        images = torch.cat([images_of(batch) for batch in batches.epoch(0)])
        found[what] = 1000 * (time.perf_counter() - began) / len(images), images
    figures = {f"{what}_ms_an_image": milliseconds for what, (milliseconds, _) in found.items()}
    figures["times_faster"] = found["decoded"][0] / found["kept"][0]
    equal = all(torch.equal(images, found["decoded"][1]) for _, images in found.values())
    missed = [] if equal else ["the tensors differ"]
    return Record("waiting", {"images": name, "measured": "a pass"}, figures, missed)


def training(name: str, transform: Transform, examples: list[Example], vit: Vit, epochs: int, target: float) -> Record:
    """The share of waiting in a training of VPT, with images kept in memory and without."""
    config = TrainConfig(epochs=epochs, batch_size=16, lr=0.01)
    figures: dict[str, float] = {}
    for what, memory in (("decoded", 0), ("kept", MEMORY)):
        batches = image_batches(Files(), examples, transform, batch_size=16, seed=0, cache=PixelCache(memory))
        learner = VPT(vit, [f"class {n}" for n in range(CLASSES)], VPTConfig(n_prompts=10))
        report = fit(learner, batches, config)
        figures |= {f"{what}_waiting_share": report.waiting, f"{what}_seconds": report.seconds}
    missed = misses(figures, least={}, most={"kept_waiting_share": target} if target else {})
    return Record("waiting", {"images": name, "measured": f"VPT, {epochs} epochs"}, figures, missed)
