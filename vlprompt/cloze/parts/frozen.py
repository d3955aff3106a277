"""Clozes of a frozen model and a fixed template: the model's output for a text is computed once and stored.

What is stored for a text is the state at the blank as it enters the head's last layer. Label words, their calibration
and search, and learned class vectors all read it, so they share one pass of the model over a data set. (Of a model
whose scores are not that state times the head's rows, its scores are stored.)
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze.parts.base import ClozeLearner
from vlprompt.cloze.parts.config import ClozeConfig
from vlprompt.cloze.parts.rendering import Renderer
from vlprompt.data.batch import Batch, texts_of
from vlprompt.data.needs import Input, Needs
from vlprompt.data.texts import Text

C = TypeVar("C", bound=ClozeConfig)
At = Literal["first", "blank"]


@dataclass(frozen=True)
class FrozenState:
    """A state of a frozen model as a function of texts.

    Attributes:
        renderer: The template in the model's tokens.
        at: The "blank", see `LanguageModel.readout`; or the "first" token, see `LanguageModel.hidden`.
    """

    renderer: Renderer
    at: At = "blank"

    @property
    def key(self) -> str:
        """The token that is read, the template, the longest row and the tokenizer."""
        return f"{self.at} {self.renderer.key}"

    def __call__(self, texts: Sequence[Text]) -> Tensor:
        """B texts -> (B, E)."""
        read = self.renderer.lm.readout if self.at == "blank" else self.renderer.lm.hidden
        return read(self.renderer(texts))


class FrozenCloze(ClozeLearner[C], abc.ABC):
    """A cloze of a frozen model, whose template has no learned tokens. Subclasses are final."""

    needs = Needs(input=Input.TEXT_FEATURES)

    def __init__(self, lm: LanguageModel, classes: Sequence[str], config: C | None = None, *, seed: int = 0) -> None:
        """Raise UsageError for a template with learned tokens."""
        super().__init__(lm, classes, config, seed=seed)
        for part in self.renderer.template.parts_of("soft"):
            self.renderer.template.fail(
                part.column, f"{self.method()} learns no tokens; write words, or use prompt_tuning or p_tuning"
            )

    @property
    def encoder(self) -> FrozenState:
        """The state that is read, as a function of texts."""
        return FrozenState(self.renderer, "blank" if self.layout.has_blank else "first")

    def rebuild(self) -> None:
        """Look the label words up; words of several pieces, and candidates, need more than the state at one blank."""
        super().rebuild()
        if self.word_scorer or self.choices:
            self.needs = replace(self.needs, input=Input.TEXTS, text_encoder=None)
        else:
            self.needs = replace(self.needs, input=Input.TEXT_FEATURES, text_encoder=self.encoder)

    def states(self, batch: Batch) -> Tensor:
        """(B, E) states: the batch's features, or computed from its texts where it holds none."""
        return self.encoder(texts_of(batch)) if batch.features is None else batch.features

    def scores_at_blank(self, batch: Batch, words: Tensor) -> Tensor:
        """Scores (B, W), at the blank, of (W,) vocabulary rows."""
        return self.backbone.scores_of(self.states(batch), words)
