"""A soft verbalizer's epoch on stored hidden states, against encoding every text in every epoch as toolkits do.

RoBERTa-base with random weights, 32 texts (16 a class) of 128 tokens, batches of 4, the paper's recipe. Both sides are
the same learner and `fit`; our first epoch, which encodes too, is timed separately. Both must learn the same vectors.
"""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.speed.common import models
from benchmarks.speed.common.baseline import difference
from benchmarks.speed.common.measure import compared, in_turn
from benchmarks.speed.common.models import WORDS, random_text
from benchmarks.speed.common.records import Record, misses
from vlprompt import methods
from vlprompt.backbones import LanguageModel
from vlprompt.cloze import SoftVerbalizer, SoftVerbalizerConfig
from vlprompt.data import feed
from vlprompt.data.batches import Batches, text_batches
from vlprompt.data.features import FeatureStore
from vlprompt.data.images import Example
from vlprompt.data.task import Task
from vlprompt.data.texts import Text
from vlprompt.training.fit import fit

SHOTS, LENGTH = 16, 128
FASTER, AGREEMENT = 50.0, 1e-3


def run(quick: bool = False) -> Iterator[Record]:
    """Encode once, then time epochs of both sides in turn."""
    lm, task = models.roberta(quick), texts(4 if quick else SHOTS)
    config = replace(methods.variant("soft_verbalizer")[1].training(SHOTS), epochs=1, seed=0)
    ours, plain = learner(lm, task), learner(lm, task)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        stored = feed.train_batches(ours.needs, ours.backbone, task, config, FeatureStore(folder))
        encoding = time.perf_counter() - began
    encoded_again = text_batches(task.train, batch_size=config.batch_size, seed=config.seed)

    def epoch(one: SoftVerbalizer, batches: Batches) -> float:
        return fit(one, batches, config).losses[0]

    rounds = 2 if quick else 3
    sides = [(lambda: epoch(ours, stored), 1), (lambda: epoch(plain, encoded_again), 1)]
    (own, loss), (slow, expected) = in_turn(sides, rounds)
    figures = {
        "first_epoch_s": encoding + own,
        **compared(own, slow),
        "vectors_apart": difference(ours.vectors.detach(), plain.vectors.detach()),
        "loss_apart": abs(loss - expected) / expected,
    }
    about = {"model": lm.name, "texts": len(task.train), "tokens": LENGTH, "batch": config.batch_size, "rounds": rounds}
    least, most = {} if quick else {"times_faster": FASTER}, {"vectors_apart": AGREEMENT, "loss_apart": AGREEMENT}
    yield Record("soft_verbalizer", about, figures, misses(figures, least=least, most=most))


def texts(shots: int) -> Task:
    """Two classes of long texts."""
    train = tuple(Example(Text.of(text=random_text(LENGTH, n)), n % 2) for n in range(2 * shots))
    return Task("random texts", ("a", "b"), ("{text} it was {mask} .",), train, words=((WORDS[0],), (WORDS[1],)))


def learner(lm: LanguageModel, task: Task) -> SoftVerbalizer:
    """Class vectors that start from two words."""
    return SoftVerbalizer.for_task(lm, task, SoftVerbalizerConfig(max_length=LENGTH))
