"""A cloze learner that may read the class by a linear layer in place of label words, as P-tuning v2 does."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from torch import Tensor, nn

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import Sequences, SoftPrompt
from vlprompt.cloze.parts.base import ClozeLearner, Layout, fields_only
from vlprompt.cloze.parts.config import ClozeConfig
from vlprompt.data.batch import Batch

Readout = Literal["words", "head"]


@dataclass(frozen=True)
class HeadedConfig(ClozeConfig):
    """How the class is read."""

    # "words": label words at the blank. "head": a linear layer on the first token's last state (the last token's, of a
    # causal model); a masked language model has no pooler, so there is none.
    readout: Readout = "words"


C = TypeVar("C", bound=HeadedConfig)


class HeadedCloze(ClozeLearner[C], abc.ABC):
    """Label words in a blank, or a linear layer on a text without one. Subclasses are final and set `head`."""

    head: nn.Linear | None

    def __init__(self, lm: LanguageModel, classes: Sequence[str], config: C | None = None, *, seed: int = 0) -> None:
        super().__init__(lm, classes, config, seed=seed)
        if not self.layout.has_words:
            self.why_classes_fixed = "its head has a row for each class; train with readout='words'"

    def make_layout(self, template: str) -> Layout:
        """The template; its fields alone, where a linear layer reads."""
        return Layout(template) if self.config.readout == "words" else fields_only(template)

    def linear_layer(self) -> nn.Linear | None:
        """The layer with torch's initial weights, where `config.readout` is "head"."""
        if self.layout.has_words:
            return None
        return nn.Linear(self.backbone.model.config.hidden_size, len(self.classes)).to(self.backbone.device)

    def model_inputs(self, batch: Batch) -> tuple[Sequences, SoftPrompt]:
        """The input of the model: the batch's texts, and what is learned."""
        return self.sequences(batch), self.soft_prompt()

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        if self.head is None:
            return super().forward(batch)
        return self.head(self.backbone.hidden(*self.model_inputs(batch)))  # type: ignore[no-any-return]
