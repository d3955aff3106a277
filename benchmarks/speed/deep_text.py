"""MaPLe's and PromptSRC's text sides, forward and backward to their deep prompts: ours against all 77 positions.

The baseline is the authors' implementation: every class at full length, its learned tokens replaced layer by layer.
Both sides use the same weights and classes and get the same upstream gradient, in place of the image side and the
losses, which are the same on both sides. They must agree in text features and in the gradient of all prompts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.speed.common import models
from benchmarks.speed.common.baseline import FullTexts, difference
from benchmarks.speed.common.measure import compared, in_turn
from benchmarks.speed.common.names import names
from benchmarks.speed.common.records import Record, misses
from vlprompt.backbones import Clip
from vlprompt.learners import MaPLe, MaPLeConfig, PromptSRC, PromptSRCConfig

AGREEMENT = 1e-4  # of the largest entry
CLASSES, FASTER = 100, 8.0
QUICK_CLASSES = 20


@dataclass(frozen=True)
class Side:
    """A learner's text side.

    Attributes:
        learner: MaPLe or PromptSRC.
        prompts: (J, n, D), its learned tokens of J layers.
        words: The words between them and a name.
    """

    learner: Any
    prompts: nn.Parameter
    words: str

    def run(self, upstream: Tensor) -> tuple[Tensor, Tensor]:
        """Text features (C, E) and the prompts' gradient (J, n, D) by vlprompt."""
        return backward(self.learner.text()[0], self.prompts, upstream)


def run(quick: bool = False) -> Iterator[Record]:
    """Measure both methods."""
    clip, classes = models.clip(quick), names(QUICK_CLASSES if quick else CLASSES)
    for build in (maple, promptsrc):
        yield measured(clip, build(clip, classes), 0.0 if quick else FASTER)


def measured(clip: Clip, side: Side, faster: float) -> Record:
    """Both sides in turn, for one method."""
    baseline, classes = Baseline(clip, side), len(side.learner.classes)
    upstream = torch.randn(classes, clip.embed_dim, generator=torch.Generator().manual_seed(1))  # d loss / d text
    side.run(upstream)  # warm-up
    sides = [(lambda: side.run(upstream), 4), (lambda: baseline.run(upstream), 1)]
    (own, found), (plain, expected) = in_turn(sides, rounds=1)
    figures = {
        **compared(own, plain),
        "features_apart": difference(found[0], expected[0]),
        "gradient_apart": difference(found[1], expected[1]),
    }
    depth, count, _ = side.prompts.shape
    about = {"model": clip.name, "method": side.learner.method(), "tokens": count, "depth": depth}
    about |= {"classes": classes, "rounds": 1}
    most = {"features_apart": AGREEMENT, "gradient_apart": AGREEMENT}
    return Record("deep_text", about, figures, misses(figures, least={"times_faster": faster}, most=most))


def maple(clip: Clip, classes: list[str]) -> Side:
    """MaPLe as published, but no deeper than the model."""
    learner = MaPLe(clip, classes, MaPLeConfig(depth=min(MaPLeConfig.depth, clip.text_layers)))
    return Side(learner, learner.prompts, learner.words)


def promptsrc(clip: Clip, classes: list[str]) -> Side:
    """PromptSRC as published, but no deeper than the model."""
    depth = min(PromptSRCConfig.depth_text, clip.text_layers)
    learner = PromptSRC(clip, classes, PromptSRCConfig(depth_text=depth, depth_vision=depth))
    assert learner.prompts.text is not None
    return Side(learner, learner.prompts.text, learner.prompts.words)


def backward(text: Tensor, prompts: Tensor, upstream: Tensor) -> tuple[Tensor, Tensor]:
    """Text features (C, E), and the prompts' gradient (J, n, D) for their gradient `upstream` (C, E)."""
    (gradient,) = torch.autograd.grad(text, prompts, upstream)
    return text.detach(), gradient


class Baseline:
    """A text side with deep prompts at full length."""

    def __init__(self, clip: Clip, side: Side) -> None:
        self.prompts = side.prompts.detach().clone().requires_grad_()
        self.texts = FullTexts(clip, side.learner.classes, side.prompts.shape[1], side.words)

    def run(self, upstream: Tensor) -> tuple[Tensor, Tensor]:
        """Text features (C, E) and the prompts' gradient (J, n, D)."""
        first, *later = self.prompts
        return backward(self.texts.encode(first, dict(enumerate(later, start=1))), self.prompts, upstream)
