"""L2P: a training step and evaluation on ViT-B/16, queries from the feature store against queries encoded every time.

    python -m benchmarks.speed.l2p [--quick]

The plain side is what the published codes do: the frozen model runs once for the query and once more, through timm's
own blocks and to the last token, for the prompts. Ours is given the query, which is a fact of the plain image, and
computes of the last layer the prompts only. Both must agree in scores, loss and gradients.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.measure import Record, in_turn, main, misses
from benchmarks.speed.models import vit
from benchmarks.speed.plain import difference
from vlprompt.data.batch import Batch
from vlprompt.learners import L2P

AGREEMENT = 1e-4  # of the largest entry
CLASSES = 100
STEP_TARGET, EVALUATION_TARGET = 1.35, 1.7


def run(quick: bool = False) -> Iterator[Record]:
    """Measure a step and an evaluation."""
    backbone, images = vit(quick), 2 if quick else 8
    size, random = backbone.preprocess.size, torch.Generator().manual_seed(0)
    learner = L2P(backbone, [f"class {n}" for n in range(CLASSES)])
    with torch.no_grad():  # keys that tell images apart, and a head that has learned something
        for learned in (learner.keys, learner.head.weight):
            learned.copy_(torch.randn(learned.shape, generator=random))
    labels = torch.randint(CLASSES, (images,), generator=random)
    pixels = torch.randn(images, 3, size, size, generator=random)
    bare = Batch(labels, torch.arange(images), images=pixels)
    known = replace(bare, features=backbone.encode_image(pixels))
    rounds = 1 if quick else 2
    yield step(learner, bare, known, rounds, 0.0 if quick else STEP_TARGET)
    yield evaluation(learner, bare, known, rounds, 0.0 if quick else EVALUATION_TARGET)


def step(learner: L2P, bare: Batch, known: Batch, rounds: int, target: float) -> Record:
    """A training step, up to the gradients."""
    learner.train()
    sides = (lambda: gradients(learner, learner.loss(known)), lambda: gradients(learner, plain_loss(learner, bare)))
    (own, found), (slow, wanted) = _timed(sides, rounds)
    figures = {
        "ours_s": own,
        "plain_s": slow,
        "times_faster": slow / own,
        "loss_apart": abs(float(found[0] / wanted[0] - 1)),
        "gradient_apart": max(difference(a, b) for a, b in zip(found[1:], wanted[1:], strict=True)),
    }
    return _record(learner, "step", len(bare), rounds, figures, target)


@torch.no_grad()
def evaluation(learner: L2P, bare: Batch, known: Batch, rounds: int, target: float) -> Record:
    """The scores of a batch."""
    learner.eval()
    sides = (lambda: learner.predict(known), lambda: plain_scores(learner, bare)[0])
    (own, found), (slow, wanted) = _timed(sides, rounds)
    figures = {
        "ours_s": own,
        "plain_s": slow,
        "times_faster": slow / own,
        "scores_apart": difference(found, wanted),
    }
    return _record(learner, "evaluation", len(bare), rounds, figures, target)


def _timed(sides: tuple, rounds: int) -> list:
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
    """The loss, and its gradient for everything that is learned."""
    return [loss.detach(), *torch.autograd.grad(loss, list(learner.trainable().values()))]


def plain_loss(learner: L2P, batch: Batch) -> Tensor:
    """L2P's loss without a query at hand."""
    scores, ids, similarity = plain_scores(learner, batch)
    drawn = similarity.gather(1, ids).sum() / len(batch)
    return F.cross_entropy(scores, batch.labels) - learner.config.pull * drawn


def plain_scores(learner: L2P, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (B, C), ids (B, N) and similarity (B, M), by two passes through timm's own modules."""
    net = learner.backbone.model
    with torch.no_grad():
        query = net(batch.images)
    ids, similarity = learner.choose(query)
    prompts = learner.pool[ids].flatten(1, 2)
    x = net.norm_pre(net._pos_embed(net.patch_embed(batch.images)))
    x = torch.cat([x[:, :1], prompts, x[:, 1:]], dim=1)
    for block in net.blocks:
        x = block(x)
    read = net.norm(x)[:, 1 : 1 + prompts.shape[1]].mean(dim=1)
    return learner.head(read), ids, similarity


if __name__ == "__main__":
    sys.exit(main(run))
