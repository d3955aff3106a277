"""CoOp's text side, forward and backward to the context: ours against the plain way, which runs all 77 positions.

    python -m benchmarks.speed.text_side [--quick]

Both sides use the same weights and classes and get the same gradient from above. They must agree in text features and
in the context's gradient. Our side's rate is counted in the operations that it really does (its recomputation included)
and given as a share of the best rate of a large matrix product on the same machine in the same run.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.measure import Record, in_turn, main, matrix_rate, misses
from benchmarks.speed.models import model
from benchmarks.speed.names import names
from benchmarks.speed.plain import PlainTexts, difference
from vlprompt.backbones import Clip
from vlprompt.learners import CoOp, CoOpConfig

AGREEMENT = 1e-4  # of the largest entry
PLAIN_CHUNK = 100  # classes at once on the plain side: 300 would take some 10 GB, and no less time


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
    clip = model(quick)
    for setting in QUICK if quick else FULL:
        yield measured(clip, setting, square=512 if quick else 3072)


def measured(clip: Clip, setting: Setting, square: int) -> Record:
    """Both sides and the matrix product in turn, at one setting."""
    learner = CoOp(clip, names(setting.classes), CoOpConfig(n_ctx=setting.context))
    plain = Plain(clip, learner)
    above = torch.randn(setting.classes, clip.embed_dim, generator=torch.Generator().manual_seed(1))  # d loss / d text
    with FlopCounterMode(display=False) as counter:  # the warm-up too
        ours(learner, above)
    fastest = matrix_rate(square)
    sides = [(lambda: ours(learner, above), 4), (lambda: plain.run(above), 1)]
    (own, ours_found), (plain_seconds, plain_found) = in_turn(sides, setting.rounds)
    apart = [difference(a, b) for a, b in zip(ours_found, plain_found, strict=True)]
    fastest = max(fastest, matrix_rate(square))
    rate = counter.get_total_flops() / own / 1e9
    figures = {
        "ours_s": own,
        "plain_s": plain_seconds,
        "times_faster": plain_seconds / own,
        "ours_gflop_per_s": rate,
        "matmul_gflop_per_s": fastest,
        "share_of_matmul": rate / fastest,
        "features_apart": apart[0],
        "gradient_apart": apart[1],
    }
    about = {"model": clip.name, "classes": setting.classes, "context": setting.context, "rounds": setting.rounds}
    least = {"times_faster": setting.faster, "share_of_matmul": setting.share}
    most = {"features_apart": AGREEMENT, "gradient_apart": AGREEMENT}
    return Record("text_side", about, figures, misses(figures, least=least, most=most))


def ours(learner: CoOp, above: Tensor) -> tuple[Tensor, Tensor]:
    """Text features (C, E) and the context's gradient (M, D) through vlprompt."""
    learner.context.grad = None
    text = learner.text()[0]
    text.backward(above)  # type: ignore[no-untyped-call]
    assert learner.context.grad is not None
    return text.detach(), learner.context.grad


class Plain:
    """CoOp as it is usually written: every class with all its positions through open_clip's own modules."""

    def __init__(self, clip: Clip, learner: CoOp) -> None:
        self.context = learner.context.detach().clone().requires_grad_()
        self.texts = PlainTexts(clip, learner.classes, len(self.context))

    def run(self, above: Tensor) -> tuple[Tensor, Tensor]:
        """Text features (C, E) and the context's gradient (M, D)."""
        self.context.grad = None
        parts = []
        for first in range(0, len(above), PLAIN_CHUNK):
            chosen = slice(first, first + PLAIN_CHUNK)
            text = self.texts.encode(self.context, chosen=chosen)
            text.backward(above[chosen])  # type: ignore[no-untyped-call]
            parts.append(text.detach())
        assert self.context.grad is not None
        return torch.cat(parts), self.context.grad


if __name__ == "__main__":
    sys.exit(main(run))
