"""Linear probe of texts: a linear head on a frozen language model's state, trained by gradients. The baseline.

It is `linear` for texts. The state is that of the first token ([CLS]; of a causal model the last), as `fine_tuning`
reads it, or that at the blank of a hard prompt: then it differs from `soft_verbalizer` in its initial values only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze.parts.base import Layout, fields_only
from vlprompt.cloze.parts.config import ClozeConfig
from vlprompt.cloze.parts.frozen import At, FrozenCloze
from vlprompt.data.batch import Batch
from vlprompt.prompts.head import GrowingHead, linear_head
from vlprompt.training.config import TrainConfig, Variant


@dataclass(frozen=True)
class TextLinearConfig(ClozeConfig):
    """Which state a linear head reads; label words are not used."""

    at: At = "first"  # the first token, of the fields alone; or the blank of the template


@final
class TextLinear(GrowingHead[LanguageModel, TextLinearConfig], FrozenCloze[TextLinearConfig]):
    """A weight vector per class on a state of the frozen model."""

    Config = TextLinearConfig

    def __init__(
        self, lm: LanguageModel, classes: Sequence[str], config: TextLinearConfig | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(lm, classes, config, seed=seed)
        if self.layout.has_blank:
            lm.check_linear()
        width = lm.state_width if self.layout.has_blank else int(lm.model.config.hidden_size)
        self.head = linear_head(width, len(self.classes), seed=seed).to(lm.device)

    def make_layout(self, template: str) -> Layout:
        """The template without label words; its fields alone, where the first token is read."""
        return Layout(template, has_words=False) if self.config.at == "blank" else fields_only(template)

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self.head(self.states(batch))  # type: ignore[no-any-return]


# Ours: AdamW at 1e-3, batches of 32, 200 epochs, which are cheap on stored states.
RECIPE = TrainConfig(
    epochs=200, batch_size=32, lr=1e-3, optimizer="adamw", weight_decay=0.01, schedule="linear", warmup="none",
    augment="none",
)  # fmt: skip

VARIANTS = {
    "first": Variant(TextLinearConfig(), RECIPE, "ours: a linear probe of the first token's state"),
    "blank": Variant(TextLinearConfig(at="blank"), RECIPE, "ours: a linear probe of the state at the blank"),
}
