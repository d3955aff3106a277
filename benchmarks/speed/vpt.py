"""VPT-deep, a training step on ViT-B/16: ours against prompts that run through every block; and linear from features.

Both sides of a step use the same weights, images and prompts, forward and backward to prompts and head, and must agree
in scores and in the prompts' gradient. The baseline is VPT as published: prompts are tokens of timm's own blocks, and
their outputs are dropped. Ours makes about 90 more calls of torch in each layer and step, which cost more than they
save with few prompts in a toy model. A step of `linear` on stored features is compared with one that encodes its
images.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.common import models
from benchmarks.speed.common.baseline import difference, vit_tokens
from benchmarks.speed.common.measure import compared, in_turn
from benchmarks.speed.common.records import Record, misses
from vlprompt.backbones import Vit
from vlprompt.data.batch import Batch, images_of
from vlprompt.learners import VPT, Linear, VPTConfig

AGREEMENT = 1e-4  # of the largest entry
CLASSES = [f"class {n}" for n in range(100)]
TARGETS = {50: 1.2, 100: 1.4, 200: 1.8}  # prompts in each layer: times faster
LINEAR_TARGET = 20.0


def run(quick: bool = False) -> Iterator[Record]:
    """Measure every number of prompts, and the linear head."""
    backbone, images = models.vit_base(quick), 2 if quick else 8
    size = backbone.preprocess.size
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(len(CLASSES), (images,), generator=random)
    batch = Batch(labels, torch.arange(images), images=torch.randn(images, 3, size, size, generator=random))
    for prompts, target in ((50, 0.0),) if quick else TARGETS.items():
        yield step(backbone, batch, prompts, target, rounds=2)
    yield linear(backbone, batch, 0.0 if quick else LINEAR_TARGET, rounds=2 if quick else 3)


def step(backbone: Vit, batch: Batch, prompts: int, target: float, rounds: int) -> Record:
    """Both sides in turn, with a number of prompts in each layer."""
    learner = VPT(backbone, CLASSES, VPTConfig(n_prompts=prompts)).train()
    sides = (lambda: trained(learner, learner(batch), batch), lambda: trained(learner, plain(learner, batch), batch))
    for side in sides:  # the first call of each is slower
        side()
    (own, found), (slow, expected) = in_turn([(side, 1) for side in sides], rounds)
    agreement = {
        "scores_apart": difference(found[0], expected[0]),
        "gradient_apart": difference(found[1], expected[1]),
    }
    figures = {**compared(own, slow), **agreement}
    about = {"model": backbone.name, "prompts": prompts, "batch": len(batch), "rounds": rounds}
    missed = misses(figures, least={"times_faster": target}, most=dict.fromkeys(agreement, AGREEMENT))
    return Record("vpt", about, figures, missed)


def trained(learner: VPT, scores: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """The backward pass of a step; the scores (B, C) and the prompts' gradient (L, P, D)."""
    learner.zero_grad()
    F.cross_entropy(scores, batch.labels).backward()  # type: ignore[no-untyped-call]
    assert learner.prompts.grad is not None
    return scores.detach(), learner.prompts.grad.clone()


def plain(learner: VPT, batch: Batch) -> Any:
    """Scores (B, C) by timm's own modules, prompts among the tokens of every block."""
    net, count = learner.backbone.model, learner.prompts.shape[1]
    x = vit_tokens(net, images_of(batch))
    for layer, block in enumerate(net.blocks):
        patches = x[:, 1:] if layer == 0 else x[:, 1 + count :]
        prompt = learner.prompts[layer].expand(len(x), -1, -1)
        x = block(torch.cat([x[:, :1], prompt, patches], dim=1))
    assert learner.head is not None
    return learner.head(net.norm(x)[:, 0])


def linear(backbone: Vit, batch: Batch, target: float, rounds: int) -> Record:
    """A step of the linear head on stored features, and one that encodes its images first."""
    learner, images = Linear(backbone, CLASSES), images_of(batch)

    @torch.no_grad()
    def encoded() -> Batch:
        return Batch(batch.labels, batch.index, features=backbone.encode_image(images))

    stored = encoded()
    sides = [(lambda: learner.backward(stored), 10), (lambda: learner.backward(encoded()), 1)]
    (own, _), (slow, _) = in_turn(sides, rounds)
    about = {"model": backbone.name, "learner": "linear", "batch": len(batch), "rounds": rounds}
    figures = compared(own, slow)
    return Record("vpt", about, figures, misses(figures, least={"times_faster": target}, most={}))
