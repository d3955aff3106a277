"""L2P on ViT-B/16, a training step and an evaluation: queries from the feature store against encoding every time.

The baseline is the published codes': the frozen model runs once for the query and once more, through timm's own blocks
and for all tokens, with the prompts. Ours gets the stored query, which depends on the plain image only, and computes
only the prompts' outputs in the last layer. Both must agree in scores, loss and gradients.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.common import models
from benchmarks.speed.common.baseline import difference, vit_tokens
from benchmarks.speed.common.measure import compared, in_turn
from benchmarks.speed.common.records import Record, misses
from vlprompt.data.batch import Batch, images_of
from vlprompt.learners import L2P

AGREEMENT = 1e-4  # of the largest entry
CLASSES = 100
STEP_TARGET, EVALUATION_TARGET = 1.35, 1.7


def run(quick: bool = False) -> Iterator[Record]:
    """Measure a step and an evaluation."""
    backbone, images = models.vit_base(quick), 2 if quick else 8
    size, random = backbone.preprocess.size, torch.Generator().manual_seed(0)
    learner = L2P(backbone, [f"class {n}" for n in range(CLASSES)])
    with torch.no_grad():  # keys that distinguish images, and a head as after training
        for parameter in (learner.keys, learner.head.weight):
            parameter.copy_(torch.randn(parameter.shape, generator=random))
    labels = torch.randint(CLASSES, (images,), generator=random)
    pixels = torch.randn(images, 3, size, size, generator=random)
    bare = Batch(labels, torch.arange(images), images=pixels)
    stored = replace(bare, features=backbone.encode_image(pixels))
    rounds = 1 if quick else 2
    yield step(learner, bare, stored, rounds, 0.0 if quick else STEP_TARGET)
    yield evaluation(learner, bare, stored, rounds, 0.0 if quick else EVALUATION_TARGET)


def step(learner: L2P, bare: Batch, stored: Batch, rounds: int, target: float) -> Record:
    """A training step, up to the gradients."""
    learner.train()
    sides = (lambda: gradients(learner, learner.loss(stored)), lambda: gradients(learner, plain_loss(learner, bare)))
    (own, found), (plain, expected) = _timed(sides, rounds)
    figures = {
        **compared(own, plain),
        "loss_apart": abs(float(found[0] / expected[0] - 1)),
        "gradient_apart": max(difference(a, b) for a, b in zip(found[1:], expected[1:], strict=True)),
    }
    return _record(learner, "step", len(bare), rounds, figures, target)


@torch.no_grad()
def evaluation(learner: L2P, bare: Batch, stored: Batch, rounds: int, target: float) -> Record:
    """The scores of a batch."""
    learner.eval()
    sides = (lambda: learner.predict(stored), lambda: plain_scores(learner, bare)[0])
    (own, found), (plain, expected) = _timed(sides, rounds)
    figures = {**compared(own, plain), "scores_apart": difference(found, expected)}
    return _record(learner, "evaluation", len(bare), rounds, figures, target)


def _timed(sides: tuple[Callable[[], Any], ...], rounds: int) -> list[tuple[float, Any]]:
    for side in sides:  # the first call of each is slower
        side()
    return in_turn([(side, 1) for side in sides], rounds)


def _record(learner: L2P, part: str, batch: int, rounds: int, figures: dict[str, float], target: float) -> Record:
    config = learner.config
    about = {"model": learner.backbone.name, "part": part, "prompts": config.top * config.length, "batch": batch}
    most = {name: AGREEMENT for name in figures if name.endswith("apart")}
    missed = misses(figures, least={"times_faster": target}, most=most)
    return Record("l2p", {**about, "rounds": rounds}, figures, missed)


def gradients(learner: L2P, loss: Tensor) -> list[Tensor]:
    """The loss, and its gradient for every trainable parameter."""
    return [loss.detach(), *torch.autograd.grad(loss, list(learner.trainable().values()))]


def plain_loss(learner: L2P, batch: Batch) -> Tensor:
    """L2P's loss without a stored query."""
    scores, ids, similarity = plain_scores(learner, batch)
    pull = similarity.gather(1, ids).sum() / len(batch)
    return F.cross_entropy(scores, batch.labels) - learner.config.pull * pull


def plain_scores(learner: L2P, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (B, C), ids (B, N) and similarity (B, M), by two passes through timm's own modules."""
    net, images = learner.backbone.model, images_of(batch)
    with torch.no_grad():
        query = net(images)
    ids, similarity = learner.choose(query)
    prompts = learner.pool[ids].flatten(1, 2)
    x = vit_tokens(net, images)
    x = torch.cat([x[:, :1], prompts, x[:, 1:]], dim=1)
    for block in net.blocks:
        x = block(x)
    read = net.norm(x)[:, 1 : 1 + prompts.shape[1]].mean(dim=1)
    return learner.head(read), ids, similarity
