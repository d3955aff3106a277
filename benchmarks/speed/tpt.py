"""TPT on ViT-B/16, one step, 64 views, four words: time per image of the text part and in total, ours and the baseline.

The baseline processes images separately: the views, and then the plain image again, through the image tower; all 77
positions of every class forward and backward, and forward once more with the adapted context. It runs classes in chunks
(1,000 together would need about 45 GB), and every chunk costs the same, so it is timed on some of the classes and
multiplied. Ours is timed on a few images after the initial text was encoded, once for all images (`start_s`). The image
tower is timed once for both. Both sides must agree in text features and, for the same upstream gradient, in the
gradient of the context.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.speed.common import models
from benchmarks.speed.common.baseline import CHUNK, FullCoOp, difference
from benchmarks.speed.common.measure import in_turn
from benchmarks.speed.common.names import names
from benchmarks.speed.common.records import Record, misses
from vlprompt.backbones import Clip
from vlprompt.data.batch import Batch
from vlprompt.learners import TPT, CoOp, CoOpConfig

AGREEMENT = 1e-4  # of the largest entry
VIEWS, IMAGES = 64, 3
WORDS = "a photo of a"


@dataclass(frozen=True)
class Setting:
    """Number of classes, number of classes on which the baseline is timed, and the targets (0: none)."""

    classes: int
    timed: int
    text_faster: float = 0.0
    whole_faster: float = 0.0


FULL = (Setting(100, timed=100), Setting(1000, timed=200, text_faster=10, whole_faster=5))
QUICK = (Setting(20, timed=10),)


def run(quick: bool = False) -> Iterator[Record]:
    """Measure every setting."""
    clip = models.clip(quick)
    size = clip.preprocess.size
    pixels = torch.randn(VIEWS, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        clip.encode_image(pixels[:1])
        sides = [(lambda: clip.encode_image(pixels), 1), (lambda: clip.encode_image(pixels[:1]), 1)]
        (views_s, features), (one_s, _) = in_turn(sides, rounds=1)
    for setting in QUICK if quick else FULL:
        yield measured(clip, setting, features, views_s, one_s)


def measured(clip: Clip, setting: Setting, features: Tensor, views_s: float, one_s: float) -> Record:
    """Both text sides in turn at one setting, with the image tower's seconds added.

    Args:
        clip: The model.
        setting: What to measure.
        features: (V, E), views of an image.
        views_s: Seconds of the image tower for them.
        one_s: Its seconds for one image.
    """
    learner = TPT(clip, names(setting.classes))
    coop = CoOp(clip, names(setting.timed), CoOpConfig(words=WORDS))
    baseline = FullCoOp(clip, coop.classes, coop.context)
    spread = torch.randn(IMAGES, *features.shape, generator=torch.Generator().manual_seed(1)) * features.std() / 10
    index = torch.arange(IMAGES)
    batch = Batch(torch.full_like(index, -1), index, views=features + spread)
    began = time.perf_counter()
    learner(batch)
    start_s = time.perf_counter() - began
    upstream = torch.randn(1, setting.classes, clip.embed_dim, generator=torch.Generator().manual_seed(2))
    upstream[:, setting.timed :] = 0  # the baseline does not encode these classes
    sides = [(lambda: learner.predict(batch), 1), (lambda: plain_image(baseline, upstream[0, : setting.timed]), 1)]
    (ours_s, _), (plain_s, (text, gradient)) = in_turn(sides, rounds=1)
    encoded = learner.encoded(learner.initial_contexts(features[:1]))
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
        "gradient_apart": difference(encoded.gradients(upstream)[0], gradient),
    }
    about = {"model": clip.name, "classes": setting.classes, "views": VIEWS, "images": IMAGES}
    about |= {"plain_timed_on_classes": setting.timed}
    least = {"text_times_faster": setting.text_faster, "whole_times_faster": setting.whole_faster}
    most = {"features_apart": AGREEMENT, "gradient_apart": AGREEMENT}
    return Record("tpt", about, figures, misses(figures, least=least, most=most))


def plain_image(baseline: FullCoOp, upstream: Tensor) -> tuple[Tensor, Tensor]:
    """The baseline's text part for one image, given the gradient (C, E) of its loss for the text features.

    Returns:
        The text features (C, E) and the context's gradient (M, D) before the step.
    """
    text, gradient = baseline.run(upstream)
    with torch.no_grad():
        adapted = baseline.context - 0.005 * gradient.sign()
        for first in range(0, len(upstream), CHUNK):
            baseline.texts.encode(adapted, chosen=slice(first, first + CHUNK))
    return text, gradient
