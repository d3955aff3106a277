"""Prompt tuning: soft tokens in the text are all that is learned. Lester et al., EMNLP 2021 (arXiv:2104.08691).

The class is read as a word's score at the blank instead of generated text, so the method works on masked and causal
models too. The tokens stand behind the tokenizer's start token, so that [CLS] keeps its place, or anywhere the template
says ({soft:4}, {soft:it was}). There is no network between the learned tokens and the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from torch import nn

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.sequences import Steering
from vlprompt.cloze import soft
from vlprompt.cloze.base import NULL_TEMPLATE, ClozeConfig, ClozeLearner
from vlprompt.errors import UsageError
from vlprompt.learners.base import Variant
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class PromptTuningConfig(ClozeConfig):
    """Soft tokens."""

    length: int = 100  # P (configs/models/t5_1_1_prompt.gin); soft slots in the template count instead
    init: soft.Init = "labels"  # class labels, the rest from the vocabulary (the paper's default, section 3.2)
    init_text: str = ""  # for init "text": the words to start from
    init_file: str = ""  # for init "file": the folder of a saved prompt

    def __post_init__(self) -> None:
        """Raise UsageError for a prompt without tokens or a start that is not known."""
        super().__post_init__()
        soft.check_init(self.init, self.init_text, self.init_file)
        if self.length < 1:
            raise UsageError(f"length is {self.length}; a prompt needs 1 token or more.")


@final
class PromptTuning(ClozeLearner):
    """P learned tokens before, or anywhere in, the text of a frozen model."""

    config: PromptTuningConfig

    def __init__(
        self,
        lm: LanguageModel,
        classes: Sequence[str],
        config: PromptTuningConfig = PromptTuningConfig(),
        *,
        seed: int = 0,
    ) -> None:
        template = soft.in_front(config.template or NULL_TEMPLATE, config.length)
        super().__init__(lm, classes, replace(config, template=template), seed=seed)
        own, count = self.config, len(self.renderer.soft_words)
        start = soft.started(lm, count, own.init, own.words, own.init_text, own.init_file, seed)
        self.tokens = nn.Parameter(self.renderer.soft_start(start))  # (P, D)

    def steering(self) -> Steering:
        """The soft tokens as they are."""
        return Steering(self.tokens)


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """t5_1_1_prompt.gin: a constant lr of 0.3, weight decay 1e-5; AdamW here, where they have Adafactor.

    Their 30,000 steps of batch 32 are for whole data sets; few shots get 60 epochs.
    """
    return TrainConfig(
        epochs=60, batch_size=32, lr=0.3, optimizer="adamw", weight_decay=1e-5, schedule="constant", warmup="none",
        augment="none",
    )  # fmt: skip


def gentle_recipe(shots: int = 16, dataset: str = "") -> TrainConfig:
    """Ours: a hundredth of the published learning rate, which is for T5, whose embeddings are large.

    Those of BERT, RoBERTa and GPT-2 start with a deviation of 0.02, and a step of 0.3 throws a token far out of them.
    """
    return replace(recipe(shots, dataset), lr=0.003)


SOURCE = "Lester et al. 2021 (arXiv:2104.08691)"
VARIANTS = {
    "labels": Variant(PromptTuningConfig(), recipe, f"{SOURCE}: P=100, from the label words"),
    "vocabulary": Variant(PromptTuningConfig(init="vocabulary"), recipe, f"{SOURCE}: P=100, from sampled words"),
    "uniform": Variant(PromptTuningConfig(init="uniform"), recipe, f"{SOURCE}: P=100, from noise"),
    "gentle": Variant(PromptTuningConfig(), gentle_recipe, "ours for BERT, RoBERTa, GPT-2: a learning rate of 0.003"),
    "openprompt": Variant(
        PromptTuningConfig(length=20, init="uniform", rule="mean_log_prob"), recipe, "OpenPrompt, SoftTemplate: P=20"
    ),
}
