"""How a batch changes test-time tuning: python -m benchmarks.accuracy.batching [--images N] [--batch N].

TPT on handwritten digits with the bundled CLIP, 64 views an image, one image at a time and in batches. AdamW's first
step depends on the gradient's sign, so reported are the share of context entries that move in the other direction, the
largest difference of scores, and the number of changed answers: with the same view features in both cases, and with
features that are encoded in those batches, which adds the image tower's own rounding.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vlprompt.backbones import load_clip
from vlprompt.data.catalog import load_task
from vlprompt.data.transforms import test_transform, train_transform
from vlprompt.learners import TPT
from vlprompt.prompts.tuned_per_image import TunedPerImage

VIEWS = 64


@dataclass(frozen=True)
class Change:
    """The difference between the same images in two batch sizes.

    Attributes:
        sign_flips: The share of context entries that move in another direction.
        score_difference: The largest.
        changed_answers: Images with another predicted class.
    """

    sign_flips: float
    score_difference: float
    changed_answers: int


@torch.no_grad()
def change(learner: TunedPerImage[Any], views: Callable[[slice], Tensor], images: int, batch: int) -> Change:
    """Tune images one at a time and in batches, and compare.

    Args:
        learner: Of one step; with more steps, their sum is compared.
        views: A slice of the images -> the features of their views, (B, V, E).
        images: Number of images.
        batch: Images that are tuned together in the second case.
    """
    (moved, scores), (batch_moved, batch_scores) = (_tuned(learner, views, images, size) for size in (1, batch))
    return Change(
        sign_flips=float((moved.sign() != batch_moved.sign()).float().mean()),
        score_difference=float((scores - batch_scores).abs().max()),
        changed_answers=int((scores.argmax(dim=1) != batch_scores.argmax(dim=1)).sum()),
    )


def _tuned(
    learner: TunedPerImage[Any], views: Callable[[slice], Tensor], images: int, size: int
) -> tuple[Tensor, Tensor]:
    """The changes of contexts (N, n, D) and the scores (N, C), in batches of a size."""
    moved, scores = [], []
    for first in range(0, images, size):
        some = views(slice(first, min(images, first + size)))
        contexts, plain = learner.tune(some), some[:, 0]
        moved.append(contexts - learner.initial_contexts(plain))
        scores.append(learner.context_scores(plain, contexts))
    return torch.cat(moved), torch.cat(scores)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser("python -m benchmarks.accuracy.batching", description="Batch 1 against batch N.")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args(arguments)
    clip, task = load_clip("tiny"), load_task("digits")
    plain, crop = test_transform(clip.preprocess), train_transform(clip.preprocess, 0.08)
    chosen = task.test[:: len(task.test) // options.images][: options.images]
    opened = [task.images.open(example.item) for example in chosen]
    pixels = torch.stack([torch.stack([plain(x, 0), *(crop(x, k) for k in range(1, VIEWS))]) for x in opened])
    learner = TPT(clip, task.classes)

    def encoded(some: slice) -> Tensor:
        return clip.encode_image(pixels[some].flatten(0, 1)).unflatten(0, (-1, VIEWS))

    once = torch.cat([encoded(slice(i, i + 1)) for i in range(len(pixels))])
    for name, views in (("same", lambda some: once[some]), ("encoded in these batches", encoded)):
        found = change(learner, views, len(pixels), options.batch)
        print(json.dumps({"batches": [1, options.batch], "images": len(pixels), "features": name, **vars(found)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
