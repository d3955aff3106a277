"""What a batch does to tuning at test time: python -m benchmarks.accuracy.batching [--images N] [--batch N].

TPT on handwritten digits with the bundled CLIP, 64 views an image, alone and in batches. AdamW's first step goes by the
sign of the gradient, so what is told is how many entries of the tuned contexts go the other way, the largest difference
of scores, and how many answers change: with the same view features in both cases, and with the features encoded in
those batches too, where the image tower's own rounding comes in.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vlprompt.backbones import load_clip
from vlprompt.data.catalog import load_task
from vlprompt.data.transforms import test_transform, train_transform
from vlprompt.learners import TPT
from vlprompt.learners.tuned import Tuned

VIEWS = 64


@dataclass(frozen=True)
class Apart:
    """How far the same images, tuned in two ways, are apart.

    Attributes:
        sign_flips: The share of context entries that move in another direction from their start.
        score_difference: The largest.
        changed_answers: Images that are called something else.
    """

    sign_flips: float
    score_difference: float
    changed_answers: int


@torch.no_grad()
def apart(learner: Tuned, views: Callable[[slice], Tensor], images: int, batch: int) -> Apart:
    """Tune images one by one and in batches, and compare.

    Args:
        learner: Of one step; with more of them, the sum of the steps is what is compared.
        views: A slice of the images -> the features of their views, (B, V, E).
        images: How many there are.
        batch: How many are tuned together in the second case.
    """
    (moved, scores), (moved_too, scores_too) = (_tuned(learner, views, images, size) for size in (1, batch))
    return Apart(
        sign_flips=float((moved.sign() != moved_too.sign()).float().mean()),
        score_difference=float((scores - scores_too).abs().max()),
        changed_answers=int((scores.argmax(dim=1) != scores_too.argmax(dim=1)).sum()),
    )


def _tuned(learner: Tuned, views: Callable[[slice], Tensor], images: int, size: int) -> tuple[Tensor, Tensor]:
    """The way that contexts have gone (N, n, D) and the scores (N, C), with so many images at once."""
    ways, scores = [], []
    for first in range(0, images, size):
        some = views(slice(first, min(images, first + size)))
        contexts, plain = learner.tune(some), some[:, 0]
        ways.append(contexts - learner.starts(plain))
        scores.append(learner.scores(plain, contexts))
    return torch.cat(ways), torch.cat(scores)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser("python -m benchmarks.accuracy.batching", description="Batch 1 against batch N.")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    asked = parser.parse_args(arguments)
    clip, task = load_clip("tiny"), load_task("digits")
    plain, crop = test_transform(clip.preprocess), train_transform(clip.preprocess, 0.08)
    chosen = task.test[:: len(task.test) // asked.images][: asked.images]
    opened = [task.images.open(example.item) for example in chosen]
    pixels = torch.stack([torch.stack([plain(x, 0), *(crop(x, k) for k in range(1, VIEWS))]) for x in opened])
    learner = TPT(clip, task.classes)

    def encoded(some: slice) -> Tensor:
        return clip.encode_image(pixels[some].flatten(0, 1)).unflatten(0, (-1, VIEWS))

    once = torch.cat([encoded(slice(i, i + 1)) for i in range(len(pixels))])
    for name, views in (("the same features", lambda some: once[some]), ("features of these batches", encoded)):
        found = apart(learner, views, len(pixels), asked.batch)
        print(json.dumps({"batches": [1, asked.batch], "images": len(pixels), "given": name, **vars(found)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
