"""VPT-deep: a training step on ViT-B/16, ours against prompts that run through every block; and linear from features.

    python -m benchmarks.speed.vpt [--quick]

Both sides of a step use the same weights, images and prompts, forward and backward to prompts and head, and must agree
in scores and in the prompts' gradient. The plain side is VPT as it is published: prompts stand among the tokens of
timm's own blocks, and their outputs are thrown away. Ours makes about 90 more calls of torch in each layer and step,
which at a few prompts of a toy model cost more than they save. An epoch of `linear` from stored features is set against
an epoch that encodes its images.
"""

import sys
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.measure import Record, in_turn, main
from benchmarks.speed.models import vit
from vlprompt.backbones import Vit
from vlprompt.data.batch import Batch
from vlprompt.learners import VPT, Linear, VPTConfig

AGREEMENT = 1e-4  # of the largest entry
CLASSES = 100
TARGETS = {50: 1.2, 100: 1.4, 200: 1.8}  # prompts in each layer: times faster
LINEAR_TARGET = 20.0


def run(quick: bool = False) -> Iterator[Record]:
    """Measure every number of prompts, and the linear head."""
    backbone, images = vit(quick), 2 if quick else 8
    size = backbone.preprocess.size
    random = torch.Generator().manual_seed(0)
    batch = Batch(
        labels=torch.randint(CLASSES, (images,), generator=random),
        index=torch.arange(images),
        images=torch.randn(images, 3, size, size, generator=random),
    )
    for prompts, target in ((50, 0.0),) if quick else TARGETS.items():
        yield step(backbone, batch, prompts, target, rounds=2)
    yield linear(backbone, batch, 0.0 if quick else LINEAR_TARGET, rounds=2 if quick else 3)


def step(backbone: Vit, batch: Batch, prompts: int, target: float, rounds: int) -> Record:
    """Both sides in turn, at so many prompts in each layer."""
    learner = VPT(backbone, [f"class {n}" for n in range(CLASSES)], VPTConfig(n_prompts=prompts))
    learner.train()
    sides = (lambda: trained(learner, learner(batch), batch), lambda: trained(learner, plain(learner, batch), batch))
    for side in sides:  # the first call of each is slower
        side()
    (own, found), (slow, wanted) = in_turn([(side, 1) for side in sides], rounds)
    apart = [float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, wanted, strict=True)]
    figures = {
        "ours_s": own,
        "plain_s": slow,
        "times_faster": slow / own,
        "scores_apart": apart[0],
        "gradient_apart": apart[1],
    }
    missed = [f"times_faster is {slow / own:.3g}, wanted {target:g}"] * (slow / own < target)
    names = ("scores_apart", "gradient_apart")
    missed += [f"{name} is {figures[name]:.3g}, wanted {AGREEMENT:g}" for name in names if figures[name] > AGREEMENT]
    about = {"model": backbone.name, "prompts": prompts, "batch": len(batch), "rounds": rounds}
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
    x = net.norm_pre(net._pos_embed(net.patch_embed(batch.images)))
    for layer, block in enumerate(net.blocks):
        patches = x[:, 1:] if layer == 0 else x[:, 1 + count :]
        prompt = learner.prompts[layer].expand(len(x), -1, -1)
        x = block(torch.cat([x[:, :1], prompt, patches], dim=1))
    assert learner.head is not None
    return learner.head(net.norm(x)[:, 0])


def linear(backbone: Vit, batch: Batch, target: float, rounds: int) -> Record:
    """A step of the linear head from stored features, and one that encodes its images first."""
    learner = Linear(backbone, [f"class {n}" for n in range(CLASSES)])
    assert batch.images is not None
    images = batch.images

    def encoded() -> Tensor:
        with torch.no_grad():
            return backbone.encode_image(images)

    stored = Batch(batch.labels, batch.index, features=encoded())
    sides = (
        lambda: learner.backward(stored),
        lambda: learner.backward(Batch(batch.labels, batch.index, features=encoded())),
    )
    (own, _), (slow, _) = in_turn([(sides[0], 10), (sides[1], 1)], rounds)
    missed = [f"times_faster is {slow / own:.3g}, wanted {target:g}"] * (slow / own < target)
    about = {"model": backbone.name, "learner": "linear", "batch": len(batch), "rounds": rounds}
    return Record("vpt", about, {"ours_s": own, "plain_s": slow, "times_faster": slow / own}, missed)


if __name__ == "__main__":
    sys.exit(main(run))
