"""Every learner's training step and evaluation on ViT-B/16, relative to the machine's rate of matrix products.

The necessary operations are counted in our implementation (matrix products, attention, convolutions; including what the
backward pass recomputes and empty slots in rows of texts) and divided by the best rate of a large float32 product so
far in the run: this is the least time. `share_of_matmul` is the least time divided by the measured time. A step is
gradients and optimiser; an evaluation is a batch with everything cached between batches computed again, so that it
includes text that is encoded once for all batches. Learners whose operations take less than 20 ms are shown, but their
share has no meaning: it is called `share_of_little`, and no later run is compared with it.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.common import models
from benchmarks.speed.common.measure import in_turn, matrix_rate
from benchmarks.speed.common.names import names
from benchmarks.speed.common.records import Record, misses
from vlprompt import methods
from vlprompt.backbones import Clip, Vit
from vlprompt.data.batch import Batch
from vlprompt.data.batches import feature_batches
from vlprompt.data.needs import Input
from vlprompt.data.task import Task
from vlprompt.data.views import Views
from vlprompt.learner import PromptLearner
from vlprompt.training.evaluate import Online
from vlprompt.training.optimizer import make_optimizer

FAST_MATMUL = True
LEAST_SHARE = 0.6
TOO_LITTLE = 0.02  # seconds of operations at the full rate, below which the share has no target
SHOTS = 3  # features of each class, for learners that read their training set in `prepare`


@dataclass(frozen=True)
class Sizes:
    """Classes; images, features or images with views in a batch; repetitions; side of the large matrix."""

    classes: int
    images: int
    features: int
    views: int
    rounds: int
    square: int


FULL = Sizes(classes=100, images=4, features=32, views=2, rounds=1, square=3072)
QUICK = Sizes(classes=12, images=2, features=4, views=1, rounds=1, square=256)
BATCHES = {"cocoop": 1}  # its recipe's


def run(quick: bool = False) -> Iterator[Record]:
    """Measure every learner of images."""
    sizes = QUICK if quick else FULL
    backbones: dict[type, Any] = {Clip: models.clip(quick), Vit: models.vit_base(quick)}
    rate = 0.0
    for name in methods.names():
        kind = methods.learner_class(name)
        if kind.needs.input.of_texts:
            continue
        learner = built(name, backbones[kind.backbones[0]], sizes)
        batch = batch_for(learner, sizes)
        prepare(learner, sizes)
        rate = max(rate, matrix_rate(sizes.square, times=2))
        for part, call in parts(learner, batch):
            yield measured(name, part, call, len(batch), rate, sizes, target=0.0 if quick else LEAST_SHARE)


def built(name: str, backbone: Any, sizes: Sizes) -> PromptLearner[Any, Any]:
    """A learner with its first published setting, no deeper than the model, with nothing to download."""
    kind, config = methods.learner_class(name), methods.variant(name)[1].config
    layers = 3 if sizes is QUICK else 12
    changes: dict[str, Any] = {}
    for field, value in vars(config).items():
        if field.startswith("depth") and value > layers:
            changes[field] = layers
        if "layers" in field and isinstance(value, tuple):
            changes[field] = tuple(layer for layer in value if layer < layers)
    task = Task("speed", tuple(names(sizes.classes)), ("a photo of a {}.",), (), (), (), domains=("source", "target"))
    return kind.for_task(backbone, task, replace(config, **changes))


def batch_for(learner: PromptLearner[Any, Any], sizes: Sizes) -> Batch:
    """Random examples of the kind that a learner reads."""
    random = torch.Generator().manual_seed(1)
    backbone, needs = learner.backbone, learner.needs
    count = {Input.IMAGES: sizes.images, Input.VIEWS: sizes.views}.get(needs.input, sizes.features)
    count = min(count, BATCHES.get(learner.method(), count))
    batch = Batch(torch.randint(sizes.classes, (count,), generator=random), torch.arange(count))
    features = torch.randn(count, backbone.embed_dim, generator=random)
    if needs.input is Input.VIEWS:
        views = needs.views or Views()
        near = torch.randn(count, views.count, backbone.embed_dim, generator=random)
        return replace(batch, views=features[:, None] + near / 10)
    if needs.input is Input.IMAGES:
        side = backbone.preprocess.size
        batch = replace(batch, images=torch.randn(count, 3, side, side, generator=random))
    if needs.input is Input.FEATURES or needs.features_too:
        batch = replace(batch, features=features)
    if needs.unlabelled:
        domains = torch.zeros(count, dtype=torch.int64)
        batch = replace(batch, domains=domains, unlabelled=replace(batch, domains=domains + 1))
    return batch


def prepare(learner: PromptLearner[Any, Any], sizes: Sizes) -> None:
    """Give a learner its training set in order, where it needs that."""
    if learner.needs.ordered and learner.needs.input is Input.FEATURES:
        random = torch.Generator().manual_seed(2)
        features = torch.randn(sizes.classes * SHOTS, learner.backbone.embed_dim, generator=random)
        labels = torch.arange(len(features)) % sizes.classes
        learner.prepare(feature_batches(features, labels, batch_size=100), None)


def parts(learner: PromptLearner[Any, Any], batch: Batch) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The parts of a learner to measure."""
    recipe = methods.variant(learner.method())[1].training(16, "")
    parameters = learner.trainable()
    if learner.needs.trains and recipe.epochs and parameters:
        optimizer = make_optimizer(parameters, replace(recipe, lr=recipe.lr / 1000))

        def step() -> None:
            optimizer.zero_grad()
            learner.backward(batch)
            optimizer.step()

        learner.train()
        yield "step", step
    learner.eval().requires_grad_(False)  # the counter cannot follow trainable tensors without gradients
    yield "evaluation", lambda: evaluate_batch(learner, batch)


def evaluate_batch(learner: PromptLearner[Any, Any], batch: Batch) -> None:
    """Scores of a batch, with everything cached between batches computed again."""
    learner._cache.clear()
    if isinstance(learner, Online):
        learner.reset()
    learner.predict(batch)


def measured(
    name: str, part: str, call: Callable[[], Any], batch: int, rate: float, sizes: Sizes, target: float
) -> Record:
    """One part of one learner; the best of its times, since other load only adds to them."""
    call()  # what is computed once and stored is not counted
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
        "share_of_matmul" if enough else "share_of_little": least / seconds,
        "gflop": counter.get_total_flops() / 1e9,
        "least_s": least,
        "ours_s": seconds,
        "matmul_gflop_per_s": rate,
    }
    about = {"learner": name, "part": part, "classes": sizes.classes, "batch": batch}
    return Record(
        "roofline", about, figures, misses(figures, least={"share_of_matmul": target} if enough else {}, most={})
    )
