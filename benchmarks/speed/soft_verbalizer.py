"""A soft verbalizer's epoch on states that are kept, against encoding every text in every epoch as toolkits do.

    python -m benchmarks.speed.soft_verbalizer [--quick]

RoBERTa-base with random weights, 32 texts (16 a class) of 128 tokens, batches of 4, the paper's recipe. Both sides are
the same learner and `fit`; the first epoch, which encodes on ours too, is timed by itself. What they learn must agree.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.speed.lms import WORDS, roberta, text
from benchmarks.speed.measure import Record, in_turn, main, misses
from benchmarks.speed.plain import difference
from vlprompt import feed
from vlprompt.backbones import LanguageModel
from vlprompt.cloze import SoftVerbalizer, SoftVerbalizerConfig
from vlprompt.cloze.soft_verbalizer import recipe
from vlprompt.data.features import FeatureStore
from vlprompt.data.loaders import Batches, TextBatches
from vlprompt.data.task import Example, Task
from vlprompt.data.texts import Text
from vlprompt.train import fit

SHOTS, LENGTH = 16, 128
FASTER, EXACT = 50.0, 1e-3


def run(quick: bool = False) -> Iterator[Record]:
    """Encode once, then time epochs of both sides in turn."""
    lm, task = roberta(quick), texts(4 if quick else SHOTS)
    config = replace(recipe(), epochs=1, seed=0)
    ours, plain = learner(lm, task), learner(lm, task)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        kept = feed.training(ours, task, config, FeatureStore(folder))
        encoding = time.perf_counter() - began
    anew = TextBatches(task.train, batch_size=config.batch_size, seed=config.seed)

    def epoch(one: SoftVerbalizer, batches: Batches) -> float:
        return fit(one, batches, config).losses[0]

    rounds = 2 if quick else 3
    (own, loss), (slow, wanted) = in_turn([(lambda: epoch(ours, kept), 1), (lambda: epoch(plain, anew), 1)], rounds)
    figures = {
        "first_epoch_s": encoding + own,
        "ours_s": own,
        "plain_s": slow,
        "times_faster": slow / own,
        "vectors_apart": difference(ours.vectors.detach(), plain.vectors.detach()),
        "loss_apart": abs(loss - wanted) / wanted,
    }
    about = {"model": lm.name, "texts": len(task.train), "tokens": LENGTH, "batch": config.batch_size, "rounds": rounds}
    most = {"vectors_apart": EXACT, "loss_apart": EXACT}
    yield Record(
        "soft_verbalizer", about, figures, misses(figures, least={} if quick else {"times_faster": FASTER}, most=most)
    )


def texts(shots: int) -> Task:
    """Two classes of long texts."""
    train = tuple(Example(Text.of(text=text(LENGTH, number)), number % 2) for number in range(2 * shots))
    return Task("made", ("a", "b"), ("{text} it was {mask} .",), train, words=((WORDS[0],), (WORDS[1],)))


def learner(lm: LanguageModel, task: Task) -> SoftVerbalizer:
    """Class vectors that start from two words."""
    return SoftVerbalizer.for_task(lm, task, SoftVerbalizerConfig(max_length=LENGTH))


if __name__ == "__main__":
    sys.exit(main(run))
