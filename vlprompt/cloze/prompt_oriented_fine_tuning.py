"""Prompt-oriented fine-tuning: one pattern of PET. Schick and Schuetze, EACL 2021 (arXiv:2001.07676).

The loss, and where it differs from the authors' code, stands in `pattern.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze.pattern import Pattern, PatternConfig
from vlprompt.learners.base import Variant
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class PromptOrientedFineTuningConfig(PatternConfig):
    """One pattern."""


@final
class PromptOrientedFineTuning(Pattern):
    """The whole model is trained to fill a pattern's blank with the right label word."""

    config: PromptOrientedFineTuningConfig

    def __init__(
        self,
        lm: LanguageModel,
        classes: Sequence[str],
        config: PromptOrientedFineTuningConfig = PromptOrientedFineTuningConfig(),
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(lm, classes, config, seed=seed)


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """PET, cli.py: AdamW at 1e-5 falling in a line, weight decay 0.01, batches of 4, clip norm 1, 3 epochs.

    Theirs spares biases and norms the decay. With few shots their scripts give steps instead: 250 of batch 16.
    """
    return TrainConfig(
        epochs=250, steps=250, batch_size=16, lr=1e-5, optimizer="adamw", weight_decay=0.01, schedule="linear",
        per_step=True, warmup="none", clip_norm=1.0, augment="none",
    )  # fmt: skip


VARIANTS = {
    "pet": Variant(
        PromptOrientedFineTuningConfig(), recipe, "Schick and Schuetze 2021 (arXiv:2001.07676), one pattern"
    ),
    "pet-lm": Variant(
        PromptOrientedFineTuningConfig(lm_training=True), recipe, "the same with --lm_training: unlabelled texts too"
    ),
}
