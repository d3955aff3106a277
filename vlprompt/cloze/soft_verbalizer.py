"""Soft verbalizer: a learned vector for each class in place of label words; the prompt is fixed.

Hambardzumyan et al., ACL 2021 (arXiv:2101.00121), WARP without its learned tokens, like their WARP_0:
score_y = v_y . h[blank] + b_y, where h enters the head's last layer. The vectors start from the head's rows of the
label words (their classifier_init; thunlp/OpenPrompt, prompts/soft_verbalizer.py), so an untrained one is the hard
prompt. The model is frozen, so h is computed once and an epoch costs one matrix product.

OpenPrompt starts from the first of a class's words and has no biases; here a class starts from the mean of its words,
biases included, and both are learned, as in WARP's code. WARP's paper has none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

import torch
from torch import Tensor, nn

from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze.parts.base import Layout
from vlprompt.cloze.parts.config import ClozeConfig
from vlprompt.cloze.parts.frozen import FrozenCloze
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.randomness import normal, seeded
from vlprompt.training.config import TrainConfig, Variant

Start = Literal["words", "normal", "linear"]


@dataclass(frozen=True)
class SoftVerbalizerConfig(ClozeConfig):
    """Class vectors at the blank."""

    # From label words; or, without words, from N(0, 0.02^2) with biases 0, or as torch initialises a linear layer.
    init: Start = "words"

    def __post_init__(self) -> None:
        """Raise UsageError for words that have no mean."""
        super().__post_init__()
        if self.pieces == "max":
            raise UsageError("soft_verbalizer starts from means of rows, so pieces='max' has none; use first or mean.")


@final
class SoftVerbalizer(FrozenCloze[SoftVerbalizerConfig]):
    """A weight vector per class on the state at the blank of a hard prompt."""

    Config = SoftVerbalizerConfig
    why_classes_fixed = "it has learned a vector for each class"
    one_blank = True

    def __init__(
        self, lm: LanguageModel, classes: Sequence[str], config: SoftVerbalizerConfig | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(lm, classes, config, seed=seed)
        lm.check_linear()
        vectors, bias = self.from_words() if self.layout.has_words else self.from_noise()
        self.vectors = nn.Parameter(vectors)  # (C, E)
        self.bias = nn.Parameter(bias)  # (C,)

    def make_layout(self, template: str) -> Layout:
        """The template; label words where the vectors start from them."""
        return Layout(template, has_words=self.config.init == "words")

    @torch.no_grad()
    def from_words(self) -> tuple[Tensor, Tensor]:
        """(C, E) means of the rows of each class's words, and (C,) of their biases."""
        rows, bias = self.backbone.word_rows(self.verbalizer.ids)  # (U, E), (U,)
        flat = torch.zeros(len(rows), device=rows.device) if bias is None else bias
        both = torch.cat([rows.T, flat[None].to(rows)])  # (E + 1, U): a verbalizer of means is linear in the rows
        means = self.verbalizer.mean(self.verbalizer.words(both))  # (E + 1, C)
        return means[:-1].T.clone(), means[-1].clone()

    @torch.no_grad()
    def from_noise(self) -> tuple[Tensor, Tensor]:
        """(C, E) from a narrow normal distribution, and (C,) zeros; or the weights of a new linear layer."""
        width = self.backbone.state_width
        if self.config.init == "linear":
            with seeded(self.seed):
                layer = nn.Linear(width, len(self.classes)).to(self.backbone.device)
            return layer.weight.clone(), layer.bias.clone()
        start = normal(len(self.classes), width, seed=self.seed).to(self.backbone.device)
        return start, start.new_zeros(len(start))

    def vocabulary_scores(self, batch: Batch) -> Tensor | None:  # noqa: ARG002
        """None: the learned vectors are no words of the vocabulary."""
        return None

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self.states(batch) @ self.vectors.T + self.bias


# WARP's few-shot setting (YerevaNN/WARP, README): AdamW at a constant 1e-3, batches of 4, 100 epochs.
RECIPE = TrainConfig(
    epochs=100, batch_size=4, lr=1e-3, optimizer="adamw", weight_decay=0, schedule="constant", warmup="none",
    clip_norm=1.0, augment="none",
)  # fmt: skip

# WARP_0: AdamW at 1e-4 with a slanted triangle (up in a tenth, down to 1/32), batches of 8, 20 epochs.
WARP_0_RECIPE = replace(
    RECIPE, epochs=20, batch_size=8, lr=1e-4, schedule="linear", per_step=True, warmup="linear", warmup_epochs=2,
    warmup_lr=1e-4 / 32, lr_end=1e-4 / 32,
)  # fmt: skip

SOURCE = "Hambardzumyan et al. 2021 (arXiv:2101.00121)"
VARIANTS = {
    "words": Variant(SoftVerbalizerConfig(), RECIPE, f"{SOURCE}, few-shot setting; OpenPrompt, SoftVerbalizer"),
    "noise": Variant(SoftVerbalizerConfig(init="normal"), RECIPE, "ours: the same from noise, classes need no words"),
    "warp-0": Variant(SoftVerbalizerConfig(init="linear"), WARP_0_RECIPE, f"{SOURCE}, its WARP_0: no words, lr 1e-4"),
}
