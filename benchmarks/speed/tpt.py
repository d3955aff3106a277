"""TPT on ViT-B/16, one step, 64 views, four words: ours against the plain way, text part and whole time per image.

    python -m benchmarks.speed.tpt [--quick]

The plain way takes each image by itself: its views, and then the plain one again, through the image tower; all 77
positions of every class forward and backward, and forward once more with the tuned context. It runs classes in chunks
(1,000 together would take some 45 GB) and costs the same for every chunk, so it is timed on some of the classes and
multiplied. Ours is timed on a few images after the start was encoded, which happens once for all images and is told
apart (`start_s`). The image tower is timed once for both. Both sides must agree in text features and, with the same
gradient from above, in that of the context.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.speed.measure import Record, in_turn, main, misses
from benchmarks.speed.models import model
from benchmarks.speed.names import names
from benchmarks.speed.plain import difference
from benchmarks.speed.text_side import AGREEMENT, PLAIN_CHUNK, Plain
from vlprompt.backbones import Clip
from vlprompt.data.batch import Batch
from vlprompt.learners import TPT, CoOp, CoOpConfig

VIEWS, IMAGES = 64, 3
WORDS = "a photo of a"


@dataclass(frozen=True)
class Setting:
    """Number of classes, how many of them the plain way is timed on, and the targets (0: none)."""

    classes: int
    timed: int
    text_faster: float = 0.0
    whole_faster: float = 0.0


FULL = (Setting(100, timed=100), Setting(1000, timed=200, text_faster=10, whole_faster=5))
QUICK = (Setting(20, timed=10),)


def run(quick: bool = False) -> Iterator[Record]:
    """Measure every setting."""
    clip = model(quick)
    size = clip.preprocess.size
    pixels = torch.randn(VIEWS, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        clip.encode_image(pixels[:1])
        (views_s, features), (one_s, _) = in_turn(
            [(lambda: clip.encode_image(pixels), 1), (lambda: clip.encode_image(pixels[:1]), 1)], rounds=1
        )
    for setting in QUICK if quick else FULL:
        yield measured(clip, setting, features, views_s, one_s)


def measured(clip: Clip, setting: Setting, features: Tensor, views_s: float, one_s: float) -> Record:
    """Both text sides in turn at one setting, with the image tower's seconds added.

    Args:
        clip: The model.
        setting: What to measure.
        features: (V, E), views of an image.
        views_s: Seconds the image tower took for them.
        one_s: Seconds it takes for one.
    """
    learner = TPT(clip, names(setting.classes))
    plain = Plain(clip, CoOp(clip, names(setting.timed), CoOpConfig(words=WORDS)))
    spread = torch.randn(IMAGES, *features.shape, generator=torch.Generator().manual_seed(1)) * features.std() / 10
    index = torch.arange(IMAGES)
    batch = Batch(torch.full_like(index, -1), index, views=features + spread)
    began = time.perf_counter()
    learner(batch)
    start_s = time.perf_counter() - began
    above = torch.randn(1, setting.classes, clip.embed_dim, generator=torch.Generator().manual_seed(2))
    above[:, setting.timed :] = 0  # what the plain way has not encoded
    sides = [(lambda: learner.predict(batch), 1), (lambda: plain_image(plain, above[0, : setting.timed]), 1)]
    (ours_s, _), (plain_s, (text, gradient)) = in_turn(sides, rounds=1)
    encoded = learner.encoded(learner.starts(features[:1]))
    ours_text, plain_text = ours_s / IMAGES, plain_s * setting.classes / setting.timed
    ours_whole, plain_whole = views_s + ours_text, views_s + one_s + plain_text
    figures = {
        "ours_text_s": ours_text,
        "plain_text_s": plain_text,
        "text_times_faster": plain_text / ours_text,
        "image_tower_s": views_s,
        "ours_whole_s": ours_whole,
        "plain_whole_s": plain_whole,
        "whole_times_faster": plain_whole / ours_whole,
        "start_s": start_s,
        "features_apart": difference(encoded.text[0, : setting.timed], text),
        "gradient_apart": difference(encoded.gradients(above)[0], gradient),
    }
    about = {
        "model": clip.name,
        "classes": setting.classes,
        "views": VIEWS,
        "images": IMAGES,
        "plain_timed_on_classes": setting.timed,
    }
    least = {"text_times_faster": setting.text_faster, "whole_times_faster": setting.whole_faster}
    most = {"features_apart": AGREEMENT, "gradient_apart": AGREEMENT}
    return Record("tpt", about, figures, misses(figures, least=least, most=most))


def plain_image(plain: Plain, above: Tensor) -> tuple[Tensor, Tensor]:
    """What the plain way does to text for one image, given the gradient (C, E) that its loss has there.

    Returns:
        The text features (C, E) and the context's gradient (M, D) before the step.
    """
    text, gradient = plain.run(above)
    with torch.no_grad():
        tuned = plain.context - 0.005 * gradient.sign()
        for first in range(0, len(above), PLAIN_CHUNK):
            plain.texts.encode(tuned, chosen=slice(first, first + PLAIN_CHUNK))
    return text, gradient


if __name__ == "__main__":
    sys.exit(main(run))
