"""Prompt tuning: soft tokens in the text are all that is learned. Lester et al., EMNLP 2021 (arXiv:2104.08691).

The class is read as a word's score at the blank instead of generated text, so the method works on masked and causal
models too. The tokens stand behind the tokenizer's start token, so that [CLS] keeps its place, or anywhere the template
says ({soft:4}, {soft:it was}). There is no network between the learned tokens and the model.

With readout="head" a linear layer reads the class, the shallow baseline of P-tuning v2 (Liu et al., ACL 2022,
arXiv:2110.07602). Its released code hands the model its own embedding layer's output as if that were word embeddings,
so that positions, segments and LayerNorm come in twice; `reference_quirks` does that.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import nn

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.sequences import Sequences, Steering
from vlprompt.cloze import soft
from vlprompt.cloze.headed import HeadedCloze, HeadedConfig
from vlprompt.cloze.p_tuning_v2 import recipe as head_recipe  # whose baseline it is
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.init import seeded
from vlprompt.learners.base import Variant
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class PromptTuningConfig(HeadedConfig):
    """Soft tokens."""

    length: int = 100  # P (configs/models/t5_1_1_prompt.gin); soft slots count instead, but for a linear layer
    init: soft.Init = "labels"  # class labels, the rest from the vocabulary (the paper's default, section 3.2)
    init_text: str = ""  # for init "text": the words to start from
    init_file: str = ""  # for init "file": the folder of a saved prompt
    reference_quirks: bool = False  # texts through the embedding layer twice, see above

    def __post_init__(self) -> None:
        """Raise UsageError for a prompt without tokens, a start that is not known, or slips of code without a head."""
        super().__post_init__()
        soft.check_init(self.init, self.init_text, self.init_file)
        if self.reference_quirks and self.readout == "words":
            raise UsageError("reference_quirks are those of a linear layer's code; set readout='head' with them.")
        if self.length < 1:
            raise UsageError(f"length is {self.length}; a prompt needs 1 token or more.")


@final
class PromptTuning(HeadedCloze):
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
        template = soft.in_front(config.shown, config.length)
        super().__init__(lm, classes, replace(config, template=template), seed=seed)
        own, count = self.config, len(self.renderer.soft_words)
        start = soft.started(lm, count, own.init, own.words, own.init_text, own.init_file, seed)
        self.tokens = nn.Parameter(self.renderer.soft_start(start))  # (P, D)
        with seeded(seed):
            self.head = self.linear_layer()
        if config.reference_quirks:
            _embedding_layer(lm)

    def steering(self) -> Steering:
        """The soft tokens as they are."""
        return Steering(self.tokens)

    def prompted(self, batch: Batch) -> tuple[Sequences, Steering]:
        """The texts and the soft tokens; with the code's slip, words too come as embeddings."""
        texts, prompt = super().prompted(batch)
        return embedded(self.backbone, texts, prompt) if self.config.reference_quirks else (texts, prompt)


def embedded(lm: LanguageModel, texts: Sequences, prompt: Steering) -> tuple[Sequences, Steering]:
    """The same texts (B, T) with what the embedding layer makes of each word in the place of its word embedding.

    The layer sees the words alone, so they are counted without the soft tokens; those stay as they are.
    """
    assert texts.slots is not None
    assert prompt.tokens is not None
    words = texts.slots < 0  # (B, T)
    places = ((words & texts.mask.bool()).cumsum(1) - 1).clamp_min(0) + (lm.first_position or 0)
    with torch.no_grad():
        made = _embedding_layer(lm)(input_ids=texts.ids, position_ids=places, token_type_ids=texts.segments)  # (B,T,D)
    numbers = torch.arange(words.numel(), device=words.device).view_as(words) + len(prompt.tokens)
    tokens = torch.cat([prompt.tokens, made.flatten(0, 1).to(prompt.tokens)])
    return replace(texts, slots=torch.where(words, numbers, texts.slots)), Steering(tokens)


def _embedding_layer(lm: LanguageModel) -> nn.Module:
    """What a model makes of ids before its first layer.

    Raises:
        UsageError: It has no such part.
    """
    layer = getattr(lm.model.base_model, "embeddings", None)
    if not isinstance(layer, nn.Module) or "position_ids" not in inspect.signature(layer.forward).parameters:
        raise UsageError(f"{lm.name} has no embedding layer of its own; use reference_quirks with a BERT or a RoBERTa.")
    return layer


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


SHALLOW = "Liu et al. 2022 (arXiv:2110.07602), its shallow baseline"
SOURCE = "Lester et al. 2021 (arXiv:2104.08691)"
VARIANTS = {
    "labels": Variant(PromptTuningConfig(), recipe, f"{SOURCE}: P=100, from the label words"),
    "vocabulary": Variant(PromptTuningConfig(init="vocabulary"), recipe, f"{SOURCE}: P=100, from sampled words"),
    "uniform": Variant(PromptTuningConfig(init="uniform"), recipe, f"{SOURCE}: P=100, from noise"),
    "gentle": Variant(PromptTuningConfig(), gentle_recipe, "ours for BERT, RoBERTa, GPT-2: a learning rate of 0.003"),
    "openprompt": Variant(
        PromptTuningConfig(length=20, init="uniform", rule="mean_log_prob"), recipe, "OpenPrompt, SoftTemplate: P=20"
    ),
    "head": Variant(PromptTuningConfig(length=8, init="normal", readout="head"), head_recipe, f"{SHALLOW}: a head"),
    "head-code": Variant(
        PromptTuningConfig(length=8, init="normal", readout="head", reference_quirks=True),
        head_recipe,
        "THUDM/P-tuning-v2, its BertPromptForSequenceClassification, texts embedded twice",
    ),
}
