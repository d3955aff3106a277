"""MaPLe's and PromptSRC's text sides, forward and backward to their deep prompts: ours against all 77 positions.

    python -m benchmarks.speed.deep_text [--quick]

The plain side is the authors' way: every class at full length, its learned tokens overwritten layer by layer. Both
sides use the same weights and classes and get the same gradient from above, which stands for the image side and the
losses: those are the same on both sides. They must agree in text features and in the gradient of all prompts.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.speed.measure import Record, in_turn, main, misses
from benchmarks.speed.models import model
from benchmarks.speed.names import names
from benchmarks.speed.plain import PlainTexts, difference
from vlprompt.backbones import Clip
from vlprompt.learners import MaPLe, MaPLeConfig, PromptSRC, PromptSRCConfig

AGREEMENT = 1e-4  # of the largest entry


@dataclass(frozen=True)
class Setting:
    """Number of classes, repetitions, and the target (0: none)."""

    classes: int
    rounds: int
    faster: float = 0.0


@dataclass(frozen=True)
class Side:
    """A learner's text side.

    Attributes:
        learner: MaPLe or PromptSRC.
        prompts: (J, n, D), its learned tokens of J layers.
        words: What stands between them and a name.
    """

    learner: Any
    prompts: nn.Parameter
    words: str

    def run(self, above: Tensor) -> tuple[Tensor, Tensor]:
        """Text features (C, E) and the prompts' gradient (J, n, D) through vlprompt."""
        return backward(self.learner.text()[0], self.prompts, above)


FULL, QUICK = Setting(100, rounds=1, faster=8), Setting(20, rounds=1)


def run(quick: bool = False) -> Iterator[Record]:
    """Measure both methods."""
    clip, setting = model(quick), QUICK if quick else FULL
    for build in (maple, promptsrc):
        yield measured(clip, build(clip, setting.classes), setting)


def measured(clip: Clip, side: Side, setting: Setting) -> Record:
    """Both sides in turn, for one method."""
    plain = Plain(clip, side)
    above = torch.randn(setting.classes, clip.embed_dim, generator=torch.Generator().manual_seed(1))  # d loss / d text
    side.run(above)  # the warm-up
    (own, found), (plain_seconds, plain_found) = in_turn(
        [(lambda: side.run(above), 4), (lambda: plain.run(above), 1)], setting.rounds
    )
    figures = {
        "ours_s": own,
        "plain_s": plain_seconds,
        "times_faster": plain_seconds / own,
        "features_apart": difference(found[0], plain_found[0]),
        "gradient_apart": difference(found[1], plain_found[1]),
    }
    depth, count, _ = side.prompts.shape
    method = {"model": clip.name, "method": side.learner.method(), "tokens": count, "depth": depth}
    most = {"features_apart": AGREEMENT, "gradient_apart": AGREEMENT}
    return Record(
        "deep_text",
        {**method, "classes": setting.classes, "rounds": setting.rounds},
        figures,
        misses(figures, least={"times_faster": setting.faster}, most=most),
    )


def maple(clip: Clip, classes: int) -> Side:
    """MaPLe as published, but no deeper than the model."""
    learner = MaPLe(clip, names(classes), MaPLeConfig(depth=min(MaPLeConfig.depth, clip.text_layers)))
    return Side(learner, learner.prompts, learner.words)


def promptsrc(clip: Clip, classes: int) -> Side:
    """PromptSRC as published, but no deeper than the model."""
    depth = min(PromptSRCConfig.depth_text, clip.text_layers)
    learner = PromptSRC(clip, names(classes), PromptSRCConfig(depth_text=depth, depth_vision=depth))
    assert learner.prompts.text is not None
    return Side(learner, learner.prompts.text, learner.prompts.words)


def backward(text: Tensor, prompts: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
    """Text features (C, E) and, for this gradient from above (C, E), that of the prompts (J, n, D)."""
    (gradient,) = torch.autograd.grad(text, prompts, above)
    return text.detach(), gradient


class Plain:
    """A text side with deep prompts as it is usually written."""

    def __init__(self, clip: Clip, side: Side) -> None:
        self.prompts = side.prompts.detach().clone().requires_grad_()
        self.texts = PlainTexts(clip, side.learner.classes, side.prompts.shape[1], side.words)

    def run(self, above: Tensor) -> tuple[Tensor, Tensor]:
        """Text features (C, E) and the prompts' gradient (J, n, D)."""
        first, *later = self.prompts
        return backward(self.texts.encode(first, dict(enumerate(later, start=1))), self.prompts, above)


if __name__ == "__main__":
    sys.exit(main(run))
