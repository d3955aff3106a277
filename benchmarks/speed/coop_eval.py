"""Evaluating CoOp on cached image features: text encoded once, against once for every batch.

    python -m benchmarks.speed.coop_eval [--quick]

Ours is `vlprompt.evaluate` after a change of the prompt, as after training. The plain side is what the authors' trainer
does: it runs all 77 positions of every class anew for every batch. "Again" is our encoder, anew for every batch.
All must agree in the scores.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.measure import Record, in_turn, main, misses
from benchmarks.speed.models import model
from benchmarks.speed.names import names
from benchmarks.speed.plain import PlainTexts, difference
from vlprompt.backbones import Clip
from vlprompt.data.loaders import FeatureBatches
from vlprompt.evaluate import evaluate
from vlprompt.learners import CoOp

AGREEMENT = 1e-4  # of the largest score
BATCH = 100  # the authors'


@dataclass(frozen=True)
class Setting:
    """Numbers of classes and images, repetitions, and the target against our encoder for every batch (0: none)."""

    classes: int
    images: int
    rounds: int
    faster: float = 0.0


FULL, QUICK = Setting(100, 1000, rounds=1, faster=5), Setting(20, 300, rounds=1)


def run(quick: bool = False) -> Iterator[Record]:
    """Measure, at one setting."""
    yield measured(model(quick), QUICK if quick else FULL)


def measured(clip: Clip, setting: Setting) -> Record:
    """All three ways in turn."""
    learner, data = CoOp(clip, names(setting.classes)), examples(clip, setting)
    texts = PlainTexts(clip, learner.classes, learner.config.n_ctx)
    once(learner, data)  # the warm-up
    sides: list[tuple[Callable[[], Any], int]] = [
        (lambda: once(learner, data), 4),
        (lambda: every_batch(clip, data, learner.text), 1),
        (lambda: every_batch(clip, data, lambda: texts.encode(learner.context)), 1),
    ]
    (own, found), (again, again_found), (plain, plain_found) = in_turn(sides, setting.rounds)
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
    about = {"model": clip.name, "classes": setting.classes, "images": setting.images, "batch": BATCH}
    least = {"times_faster_than_again": setting.faster}
    most = {"text_encodings": 1, "scores_apart": AGREEMENT}
    return Record("coop_eval", {**about, "rounds": setting.rounds}, figures, misses(figures, least=least, most=most))


def examples(clip: Clip, setting: Setting) -> FeatureBatches:
    """Random features and labels, in order."""
    random = torch.Generator().manual_seed(1)
    features = torch.randn(setting.images, clip.embed_dim, generator=random)
    labels = torch.randint(setting.classes, (setting.images,), generator=random)
    return FeatureBatches(features, labels, batch_size=BATCH)


def once(learner: CoOp, data: FeatureBatches) -> tuple[Tensor, int]:
    """Scores (N, C) by `evaluate`, and how often text was encoded."""
    with torch.no_grad():
        learner.context.add_(0)  # a prompt that was touched is encoded anew
    with encodings(learner.backbone) as calls:
        return evaluate(learner, data).scores, len(calls)


@torch.no_grad()
def every_batch(clip: Clip, data: FeatureBatches, encode: Callable[[], Tensor]) -> tuple[Tensor, int]:
    """Scores (N, C) with text encoded for every batch, and how often our encoder was called."""
    with encodings(clip) as calls:
        return torch.cat([clip.scores(batch.features, encode()) for batch in data.epoch(0)]), len(calls)


@contextmanager
def encodings(clip: Clip) -> Iterator[list[int]]:
    """While open, note for every text encoding of a model how many texts it had."""
    calls: list[int] = []
    encoder = clip.encoder

    def noted(prompt: Any) -> Tensor:
        calls.append(len(prompt.ends))
        return encoder(prompt)

    clip.encoder = noted
    try:
        yield calls
    finally:
        clip.encoder = encoder


if __name__ == "__main__":
    sys.exit(main(run))
