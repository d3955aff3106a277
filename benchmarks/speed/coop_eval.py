"""Evaluation of CoOp on stored image features: text encoded once, against once for every batch.

Ours is `vlprompt.evaluate` after a change of the prompt, as after training. The baseline is the authors' trainer: it
runs all 77 positions of every class again for every batch. "Again" is our encoder, called for every batch. All three
must agree in the scores.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.common import models
from benchmarks.speed.common.baseline import FullTexts, difference
from benchmarks.speed.common.measure import in_turn
from benchmarks.speed.common.names import names
from benchmarks.speed.common.records import Record, misses
from vlprompt.backbones import Clip
from vlprompt.data.batch import features_of
from vlprompt.data.batches import Batches, feature_batches
from vlprompt.learners import CoOp
from vlprompt.training.evaluate import evaluate

AGREEMENT = 1e-4  # of the largest score
BATCH = 100  # the authors'


@dataclass(frozen=True)
class Setting:
    """Numbers of classes and images, and the target against our encoder for every batch (0: none)."""

    classes: int
    images: int
    faster: float = 0.0


FULL, QUICK = Setting(100, 1000, faster=5), Setting(20, 300)


def run(quick: bool = False) -> Iterator[Record]:
    """Measure one setting."""
    yield measured(models.clip(quick), QUICK if quick else FULL)


def measured(clip: Clip, setting: Setting) -> Record:
    """All three sides in turn."""
    learner, data = CoOp(clip, names(setting.classes)), examples(clip, setting)
    texts = FullTexts(clip, learner.classes, learner.context.shape[-2])
    once(learner, data)  # warm-up
    sides: list[tuple[Callable[[], Any], int]] = [
        (lambda: once(learner, data), 4),
        (lambda: every_batch(clip, data, learner.text), 1),
        (lambda: every_batch(clip, data, lambda: texts.encode(learner.context)), 1),
    ]
    (own, found), (again, again_found), (plain, plain_found) = in_turn(sides, rounds=1)
    figures = {
        "ours_s": own,
        "again_s": again,
        "plain_s": plain,
        "times_faster_than_again": again / own,
        "times_faster": plain / own,
        "text_encodings": found[1],
        "again_text_encodings": again_found[1],
        "scores_apart": max(difference(found[0], other) for other in (again_found[0], plain_found[0])),
    }
    about = {"model": clip.name, "classes": setting.classes, "images": setting.images, "batch": BATCH, "rounds": 1}
    least, most = {"times_faster_than_again": setting.faster}, {"text_encodings": 1, "scores_apart": AGREEMENT}
    return Record("coop_eval", about, figures, misses(figures, least=least, most=most))


def examples(clip: Clip, setting: Setting) -> Batches:
    """Random features and labels, in order."""
    random = torch.Generator().manual_seed(1)
    features = torch.randn(setting.images, clip.embed_dim, generator=random)
    labels = torch.randint(setting.classes, (setting.images,), generator=random)
    return feature_batches(features, labels, batch_size=BATCH)


def once(learner: CoOp, data: Batches) -> tuple[Tensor, int]:
    """Scores (N, C) by `evaluate`, and the number of text encodings."""
    with torch.no_grad():
        learner.context.add_(0)  # a change of the prompt, after which text is encoded again
    with encodings(learner.backbone) as calls:
        return evaluate(learner, data).scores, len(calls)


@torch.no_grad()
def every_batch(clip: Clip, data: Batches, encode: Callable[[], Tensor]) -> tuple[Tensor, int]:
    """Scores (N, C) with text encoded for every batch, and the number of calls of our encoder."""
    with encodings(clip) as calls:
        return torch.cat([clip.scores(features_of(batch), encode()) for batch in data.epoch(0)]), len(calls)


@contextmanager
def encodings(clip: Clip) -> Iterator[list[int]]:
    """While open, record the number of texts of every call of a model's text encoder."""
    calls: list[int] = []
    encoder = clip.encoder

    def recorded(prompt: Any) -> Tensor:
        calls.append(len(prompt.ends))
        return encoder(prompt)

    clip.encoder = recorded  # type: ignore[assignment]
    try:
        yield calls
    finally:
        clip.encoder = encoder
