"""Prompt tuning: soft tokens in the text are all that is learned. Lester et al., EMNLP 2021 (arXiv:2104.08691).

The class is read as a word's score at the blank instead of generated text, so the method works on masked and causal
models too. The tokens follow the tokenizer's start token, so that [CLS] stays first, or are where the template has them
({soft:4}, {soft:it was}). There is no network between the learned tokens and the model.

With readout="head" a linear layer reads the class, the shallow baseline of P-tuning v2 (Liu et al., ACL 2022,
arXiv:2110.07602). Its released code gives the output of the model's embedding layer to the model as word embeddings,
so that positions, segments and LayerNorm are applied twice; `reference_quirks` reproduces that.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor, nn

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import Sequences, SoftPrompt
from vlprompt.cloze.parts.base import Layout
from vlprompt.cloze.parts.config import number
from vlprompt.cloze.parts.headed import HeadedCloze, HeadedConfig
from vlprompt.cloze.parts.recipes import P_TUNING_V2_RECIPE as HEAD_RECIPE
from vlprompt.cloze.parts.soft_tokens import Init, add_soft_tokens, initial_tokens
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.randomness import seeded
from vlprompt.training.config import TrainConfig, Variant


@dataclass(frozen=True)
class PromptTuningConfig(HeadedConfig):
    """Soft tokens."""

    length: int = number(
        100, at_least=1
    )  # P (configs/models/t5_1_1_prompt.gin); a template's soft slots replace it, if words are read
    init: Init = "labels"  # class labels, the rest from the vocabulary (the paper's default, section 3.2)
    init_text: str = ""  # for init "text": the words to start from
    init_file: str = ""  # for init "file": the folder of a saved prompt
    reference_quirks: bool = False  # texts through the embedding layer twice, see above

    def __post_init__(self) -> None:
        """Raise UsageError for a start without its text or file, or quirks without a head."""
        super().__post_init__()
        for name, value in (("text", self.init_text), ("file", self.init_file)):
            if self.init == name and not value:
                raise UsageError(f"init {name!r} needs the setting init_{name}; it is empty.")
        if self.reference_quirks and self.readout == "words":
            raise UsageError("reference_quirks are those of a linear layer's code; set readout='head' with them.")


@final
class PromptTuning(HeadedCloze[PromptTuningConfig]):
    """P learned tokens before, or anywhere in, the text of a frozen model."""

    Config = PromptTuningConfig

    def __init__(
        self, lm: LanguageModel, classes: Sequence[str], config: PromptTuningConfig | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(lm, classes, config, seed=seed)
        own, count = self.config, len(self.renderer.soft_words)
        start = initial_tokens(lm, count, own.init, words=own.words, text=own.init_text, file=own.init_file, seed=seed)
        self.tokens = nn.Parameter(self.renderer.soft_start(start))  # (P, D)
        with seeded(seed):
            self.head = self.linear_layer()
        if own.reference_quirks:
            _embedding_layer(lm)

    def make_layout(self, template: str) -> Layout:
        """The template with soft tokens."""
        own = super().make_layout(template)
        return replace(own, template=add_soft_tokens(own.template, self.config.length))

    def soft_prompt(self) -> SoftPrompt:
        """The soft tokens."""
        return SoftPrompt(self.tokens)

    def soft_tokens(self) -> Mapping[str, Tensor]:
        """The soft tokens (P, D)."""
        return {"tokens": self.tokens}

    def model_inputs(self, batch: Batch) -> tuple[Sequences, SoftPrompt]:
        """The texts and the soft tokens; with `reference_quirks`, words are given as embeddings too."""
        texts, prompt = super().model_inputs(batch)
        return embed_words(self.backbone, texts, prompt) if self.config.reference_quirks else (texts, prompt)


def embed_words(lm: LanguageModel, texts: Sequences, prompt: SoftPrompt) -> tuple[Sequences, SoftPrompt]:
    """The same texts (B, T) with the embedding layer's output for each word in place of its word embedding.

    The layer reads the words alone, so their positions are counted without the soft tokens, which stay as they are.
    """
    assert texts.slots is not None
    assert prompt.tokens is not None
    words = texts.slots < 0  # (B, T)
    places = ((words & texts.mask.bool()).cumsum(1) - 1).clamp_min(0) + (lm.first_position or 0)
    with torch.no_grad():
        made = _embedding_layer(lm)(input_ids=texts.ids, position_ids=places, token_type_ids=texts.segments)  # (B,T,D)
    numbers = torch.arange(words.numel(), device=words.device).view_as(words) + len(prompt.tokens)
    tokens = torch.cat([prompt.tokens, made.flatten(0, 1).to(prompt.tokens)])
    return replace(texts, slots=torch.where(words, numbers, texts.slots)), SoftPrompt(tokens)


def _embedding_layer(lm: LanguageModel) -> nn.Module:
    """The part of a model that turns ids into the input of its first layer; UsageError where there is none."""
    layer = getattr(lm.model.base_model, "embeddings", None)
    if not isinstance(layer, nn.Module) or "position_ids" not in inspect.signature(layer.forward).parameters:
        raise UsageError(f"{lm.name} has no embedding layer of its own; use reference_quirks with a BERT or a RoBERTa.")
    return layer


# t5_1_1_prompt.gin: a constant lr of 0.3, weight decay 1e-5; AdamW here, Adafactor there. Their 30,000 steps of batch
# 32 are for whole data sets; few shots get 60 epochs.
RECIPE = TrainConfig(
    epochs=60, batch_size=32, lr=0.3, optimizer="adamw", weight_decay=1e-5, schedule="constant", warmup="none",
    augment="none",
)  # fmt: skip


def gentle_recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """Ours: a hundredth of the published learning rate, which is for T5, whose embeddings are large.

    Those of BERT, RoBERTa and GPT-2 start with a deviation of 0.02, and a step of 0.3 moves a token far away from them.
    """
    return replace(RECIPE, lr=0.003)


SHALLOW = "Liu et al. 2022 (arXiv:2110.07602), its shallow baseline"
SOURCE = "Lester et al. 2021 (arXiv:2104.08691)"
VARIANTS = {
    "labels": Variant(PromptTuningConfig(), RECIPE, f"{SOURCE}: P=100, from the label words"),
    "vocabulary": Variant(PromptTuningConfig(init="vocabulary"), RECIPE, f"{SOURCE}: P=100, from sampled words"),
    "uniform": Variant(PromptTuningConfig(init="uniform"), RECIPE, f"{SOURCE}: P=100, from noise"),
    "gentle": Variant(PromptTuningConfig(), gentle_recipe, "ours for BERT, RoBERTa, GPT-2: a learning rate of 0.003"),
    "openprompt": Variant(
        PromptTuningConfig(length=20, init="first", rule="mean_log_prob"),
        RECIPE,
        "OpenPrompt, SoftTemplate: P=20, from the first rows of the vocabulary",
    ),
    "openprompt-uniform": Variant(
        PromptTuningConfig(length=20, init="uniform", rule="mean_log_prob"),
        RECIPE,
        "OpenPrompt, SoftTemplate, initialize_from_vocab=False: P=20, from noise",
    ),
    "head": Variant(PromptTuningConfig(length=8, init="normal", readout="head"), HEAD_RECIPE, f"{SHALLOW}: a head"),
    "head-code": Variant(
        PromptTuningConfig(length=8, init="normal", readout="head", reference_quirks=True),
        HEAD_RECIPE,
        "THUDM/P-tuning-v2, its BertPromptForSequenceClassification, texts embedded twice",
    ),
}
