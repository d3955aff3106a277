"""Every learner's training step and evaluation on ViT-B/16, against what the machine's rate of products allows.

    python -m benchmarks.speed.roofline [--quick] [--results FILE]

The operations that must be done are counted on our path (products of matrices, attention, convolutions; what the
backward pass computes again and what rows of texts leave empty included) and divided by the best rate of a large
float32 product so far in the run; that is the least time. `share_of_matmul` is the least time over the time measured. A
step is gradients and optimiser; an evaluation is a batch with whatever is kept between batches made anew, so that text
which is encoded once for all batches is part of it. Learners whose operations take less than 20 ms are shown, but a
share says nothing of them: it is `share_of_little`, which no later run is compared with.
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.measure import Record, in_turn, main, matrix_rate, misses
from benchmarks.speed.models import model, vit
from benchmarks.speed.names import names
from vlprompt import learners
from vlprompt.backbones import Clip, Vit
from vlprompt.data.batch import Batch
from vlprompt.data.loaders import FeatureBatches
from vlprompt.data.task import Task
from vlprompt.learners.base import PromptLearner, Reads
from vlprompt.train import make_optimizer

OF_IMAGES = (Reads.IMAGES, Reads.FEATURES, Reads.VIEWS)
LEAST_SHARE = 0.6
TOO_LITTLE = 0.02  # seconds of operations at the full rate, below which no share is asked for
SHOTS = 3  # features of each class, for learners that look at their training set


@dataclass(frozen=True)
class Sizes:
    """Of a run: classes; images or features in a batch; images whose views are tuned for; repetitions."""

    classes: int
    images: int
    features: int
    tuned: int
    rounds: int
    square: int


FULL = Sizes(classes=100, images=4, features=32, tuned=2, rounds=1, square=3072)
QUICK = Sizes(classes=12, images=2, features=4, tuned=1, rounds=1, square=256)
BATCHES = {"cocoop": 1}  # its recipe's


def run(quick: bool = False) -> Iterator[Record]:
    """Measure every learner of images."""
    sizes = QUICK if quick else FULL
    backbones = {Clip: model(quick), Vit: vit(quick)}
    rate = 0.0
    for name in learners.names():
        kind = learners.learner_class(name)
        if kind.reads not in OF_IMAGES:
            continue
        learner = built(name, backbones[kind.takes[0]], sizes)
        batch = batch_for(learner, sizes)
        prepared(learner, sizes)
        rate = max(rate, matrix_rate(sizes.square, times=2))
        for part, call in parts(learner, batch):
            yield measured(name, part, call, len(batch), rate, sizes, target=0.0 if quick else LEAST_SHARE)


def built(name: str, backbone: Any, sizes: Sizes) -> PromptLearner[Any]:
    """A learner by its first published setting, no deeper than the model, with nothing to download."""
    kind, config = learners.learner_class(name), learners.variant(name)[1].config
    layers = 3 if sizes is QUICK else 12
    changes: dict[str, Any] = {}
    for field, value in vars(config).items():
        if field.startswith("depth") and value > layers:
            changes[field] = layers
        if "layers" in field and isinstance(value, tuple):
            changes[field] = tuple(layer for layer in value if layer < layers)
        if field == "pretrained":
            changes[field] = False
    task = Task("speed", tuple(names(sizes.classes)), ("a photo of a {}.",), (), (), (), domains=("source", "target"))
    return kind.for_task(backbone, task, replace(config, **changes))


def batch_for(learner: PromptLearner[Any], sizes: Sizes) -> Batch:
    """Random examples of the kind that a learner reads."""
    random = torch.Generator().manual_seed(1)
    backbone = learner.backbone
    reads = learner.reads
    few = {Reads.IMAGES: sizes.images, Reads.VIEWS: sizes.tuned}.get(reads, sizes.features)
    count = min(few, BATCHES.get(learner.method(), few))
    batch = Batch(torch.randint(sizes.classes, (count,), generator=random), torch.arange(count))
    features = torch.randn(count, backbone.embed_dim, generator=random)
    if reads is Reads.VIEWS:
        near = torch.randn(count, learner.test_views.count, backbone.embed_dim, generator=random)
        return replace(batch, views=features[:, None] + near / 10)
    if reads is Reads.IMAGES:
        side = backbone.preprocess.size
        batch = replace(batch, images=torch.randn(count, 3, side, side, generator=random))
    if reads is Reads.FEATURES or learner.features_too:
        batch = replace(batch, features=features)
    if learner.adapts:
        domains = torch.zeros(count, dtype=torch.int64)
        batch = replace(batch, domains=domains, unlabelled=replace(batch, domains=domains + 1))
    return batch


def prepared(learner: PromptLearner[Any], sizes: Sizes) -> None:
    """Show a learner its training set, where it wants that in order."""
    if learner.in_order and learner.reads is Reads.FEATURES:
        random = torch.Generator().manual_seed(2)
        features = torch.randn(sizes.classes * SHOTS, learner.backbone.embed_dim, generator=random)
        labels = torch.arange(len(features)) % sizes.classes
        learner.prepare(FeatureBatches(features, labels, batch_size=100), None)


def parts(learner: PromptLearner[Any], batch: Batch) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What there is to measure of a learner."""
    recipe = learners.variant(learner.method())[1].recipe(16, "")
    learned = list(learner.trainable().values())
    if learner.learns and recipe.epochs and learned:
        optimizer = make_optimizer(learned, replace(recipe, lr=recipe.lr / 1000))

        def step() -> None:
            optimizer.zero_grad()
            learner.backward(batch)
            optimizer.step()

        learner.train()
        yield "step", step
    learner.eval().requires_grad_(False)  # the counter of operations cannot follow learned tensors without gradients
    yield "evaluation", lambda: evaluated(learner, batch)


def evaluated(learner: PromptLearner[Any], batch: Batch) -> None:
    """Scores of a batch, with whatever is kept between batches made anew."""
    learner._kept.clear()
    learner.forget()
    learner.predict(batch)


def measured(
    name: str, part: str, call: Callable[[], Any], batch: int, rate: float, sizes: Sizes, target: float
) -> Record:
    """One part of one learner; the best of its times, since others only take it up."""
    call()  # what is made once and kept is not counted
    with FlopCounterMode(display=False) as counter:
        call()
    began = time.perf_counter()
    call()
    once = time.perf_counter() - began
    rounds = max(1, min(20, int(0.5 / once))) * sizes.rounds
    seconds = min(once, in_turn([(call, rounds)], 1)[0][0])
    least = counter.get_total_flops() / rate / 1e9
    enough = least >= TOO_LITTLE
    figures = {
        "share_of_matmul" if enough else "share_of_little": least / seconds,  # the latter is not compared with others
        "gflop": counter.get_total_flops() / 1e9,
        "least_s": least,
        "ours_s": seconds,
        "matmul_gflop_per_s": rate,
    }
    asked = {"share_of_matmul": target} if enough else {}
    about = {"learner": name, "part": part, "classes": sizes.classes, "batch": batch}
    return Record("roofline", about, figures, misses(figures, least=asked, most={}))


if __name__ == "__main__":
    sys.exit(main(run, as_fit_does=True))
