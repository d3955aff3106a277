"""CoOp's text side, forward and backward to the context: ours against all 77 positions of every class.

Both sides use the same weights and classes and get the same upstream gradient. They must agree in text features and in
the context's gradient. Our rate counts the operations that are executed (recomputation included), as a share of the
best rate of a large matrix product on the same machine in the same run.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.common import models
from benchmarks.speed.common.baseline import FullCoOp, difference
from benchmarks.speed.common.measure import compared, in_turn, matrix_rate
from benchmarks.speed.common.names import names
from benchmarks.speed.common.records import Record, misses
from vlprompt.backbones import Clip
from vlprompt.learners import CoOp, CoOpConfig

AGREEMENT = 1e-4  # of the largest entry


@dataclass(frozen=True)
class Setting:
    """Numbers of classes and context tokens, repetitions, and the targets (0: none)."""

    classes: int
    context: int
    rounds: int
    faster: float = 0.0
    share: float = 0.0


FULL = (
    Setting(100, 16, rounds=2, faster=12, share=0.55),
    Setting(100, 4, rounds=1),
    Setting(300, 16, rounds=1, faster=15, share=0.55),
)
QUICK = (Setting(20, 16, rounds=2), Setting(20, 4, rounds=2))


def run(quick: bool = False) -> Iterator[Record]:
    """Measure every setting."""
    clip = models.clip(quick)
    for setting in QUICK if quick else FULL:
        yield measured(clip, setting, square=512 if quick else 3072)


def measured(clip: Clip, setting: Setting, square: int) -> Record:
    """Both sides and the matrix product in turn, at one setting."""
    learner = CoOp(clip, names(setting.classes), CoOpConfig(n_ctx=setting.context))
    baseline = FullCoOp(clip, learner.classes, learner.context)
    random = torch.Generator().manual_seed(1)
    upstream = torch.randn(setting.classes, clip.embed_dim, generator=random)  # d loss / d text
    with FlopCounterMode(display=False) as counter:  # also the warm-up
        ours(learner, upstream)
    fastest = matrix_rate(square)
    sides = [(lambda: ours(learner, upstream), 4), (lambda: baseline.run(upstream), 1)]
    (own, found), (plain, expected) = in_turn(sides, setting.rounds)
    fastest = max(fastest, matrix_rate(square))
    rate = counter.get_total_flops() / own / 1e9
    figures = {
        **compared(own, plain),
        "ours_gflop_per_s": rate,
        "matmul_gflop_per_s": fastest,
        "share_of_matmul": rate / fastest,
        "features_apart": difference(found[0], expected[0]),
        "gradient_apart": difference(found[1], expected[1]),
    }
    about = {"model": clip.name, "classes": setting.classes, "context": setting.context, "rounds": setting.rounds}
    least = {"times_faster": setting.faster, "share_of_matmul": setting.share}
    most = {"features_apart": AGREEMENT, "gradient_apart": AGREEMENT}
    return Record("text_side", about, figures, misses(figures, least=least, most=most))


def ours(learner: CoOp, upstream: Tensor) -> tuple[Tensor, Tensor]:
    """Text features (C, E) and the context's gradient (M, D) by vlprompt."""
    learner.context.grad = None
    text = learner.text()[0]
    text.backward(upstream)
    assert learner.context.grad is not None
    return text.detach(), learner.context.grad
