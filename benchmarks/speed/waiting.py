"""Waiting for images: the share of a training of VPT that goes by while images are read, decoded and resized.

    python -m benchmarks.speed.waiting [--quick]

JPEG files of 500 x 375 pixels of noise (harder to decode than photos), ViT-Ti/16 at 224 pixels, one process. Measured
are a pass over the images when all are decoded and when decoded images were kept, with what an encoder reads of them
compared to the bit, and the share that `fit` reports for plain images and for random crops.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from torch import Tensor

from benchmarks.speed.measure import Record, main, misses
from vlprompt.backbones import Vit
from vlprompt.data.images import Example, Files
from vlprompt.data.loaders import ImageBatches
from vlprompt.data.pixels import Pixels
from vlprompt.data.transforms import Preprocess, Transform, test_transform, train_transform
from vlprompt.learners import VPT, VPTConfig
from vlprompt.recipe import TrainConfig
from vlprompt.train import fit

TARGET = 0.10  # of the time, at most
ROOM = 2**30
CLASSES = 10


def run(quick: bool = False) -> Iterator[Record]:
    """Measure passes over the images, then trainings."""
    vit, count = model(quick), 8 if quick else 64
    with tempfile.TemporaryDirectory() as folder:
        examples = photos(Path(folder), count)
        transforms = {"plain": test_transform(vit.preprocess), "random crops": train_transform(vit.preprocess)}
        for name, transform in transforms.items():
            yield passes(name, transform, examples)
            yield training(name, transform, examples, vit, epochs=2 if quick else 4, target=0.0 if quick else TARGET)


def photos(folder: Path, count: int) -> list[Example]:
    """Images on the disk, every one different."""
    draw = np.random.default_rng(0)
    examples = []
    for number in range(count):
        path = folder / f"{number}.jpg"
        Image.fromarray(draw.integers(0, 256, (375, 500, 3), dtype=np.uint8)).save(path, quality=90)
        examples.append(Example(path, number % CLASSES))
    return examples


def model(quick: bool) -> Vit:
    """ViT-Ti/16 with random weights, or a smaller one."""
    sizes: dict[str, Any] = {"embed_dim": 48, "depth": 2} if quick else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = timm.create_model("vit_tiny_patch16_224", **sizes)
    return Vit(made, Preprocess(224, (0.5,) * 3, (0.5,) * 3), name="vit_tiny_patch16_224")


def passes(name: str, transform: Transform, examples: list[Example]) -> Record:
    """Milliseconds an image, decoded anew and kept; the tensors must be equal."""
    found: dict[str, tuple[float, Tensor]] = {}
    kept = Pixels(ROOM)
    for what, pixels in (("decoded", Pixels(0)), ("first", kept), ("kept", kept)):
        batches = ImageBatches(Files(), examples, transform, batch_size=32, seed=0, pixels=pixels)
        began = time.perf_counter()
        images = torch.cat([batch.images for batch in batches.epoch(0) if batch.images is not None])
        found[what] = 1000 * (time.perf_counter() - began) / len(images), images
    figures = {f"{what}_ms_an_image": spent for what, (spent, _) in found.items()}
    figures["times_faster"] = found["decoded"][0] / found["kept"][0]
    missed = [] if all(torch.equal(images, found["decoded"][1]) for _, images in found.values()) else ["not the same"]
    return Record("waiting", {"images": name, "measured": "a pass"}, figures, missed)


def training(name: str, transform: Transform, examples: list[Example], vit: Vit, epochs: int, target: float) -> Record:
    """The share of a training of VPT that waits, with images kept and without."""
    config = replace(TrainConfig(), epochs=epochs, batch_size=16, lr=0.01)
    figures = {}
    for what, room in (("decoded", 0), ("kept", ROOM)):
        batches = ImageBatches(Files(), examples, transform, batch_size=16, seed=0, pixels=Pixels(room))
        learner = VPT(vit, [f"class {n}" for n in range(CLASSES)], VPTConfig(n_prompts=10))
        report = fit(learner, batches, config)
        figures |= {f"{what}_waiting_share": report.waiting, f"{what}_seconds": report.seconds}
    missed = misses(figures, least={}, most={"kept_waiting_share": target} if target else {})
    return Record("waiting", {"images": name, "measured": f"VPT, {epochs} epochs"}, figures, missed)


if __name__ == "__main__":
    sys.exit(main(run, as_fit_does=True))
