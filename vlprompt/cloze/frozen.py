"""Clozes of a frozen model with words alone around the text: its answer is a fact, so it is computed once and kept.

What is kept of a text is the state at the blank as it enters the head's last layer. Label words, their calibration and
search, and learned class vectors all work on it, so they share one pass of the model over a data set. (Of a model whose
scores are not that state times the head's rows, its scores are kept.)
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from vlprompt.cloze.base import ClozeLearner
from vlprompt.cloze.rendering import Renderer
from vlprompt.data.batch import Batch
from vlprompt.data.texts import Text
from vlprompt.learners.backbone import TextEncoder
from vlprompt.learners.base import Reads, texts_of


@dataclass(frozen=True)
class ReadOut:
    """A frozen model and a template as a function of texts.

    Attributes:
        renderer: The template in the model's tokens.
    """

    renderer: Renderer

    @property
    def key(self) -> str:
        """The template, the longest row and the tokenizer."""
        return f"blank {self.renderer.key}"

    def __call__(self, texts: Sequence[Text]) -> Tensor:
        """B texts -> (B, E), see `LanguageModel.readout`."""
        return self.renderer.lm.readout(self.renderer(texts))


class FrozenCloze(ClozeLearner, abc.ABC):
    """A cloze whose model, template and so states never change. Subclasses are final."""

    reads = Reads.TEXT_FEATURES

    def lay_out(self) -> None:
        """Put the template into the model's tokens.

        Raises:
            UsageError: It has learned tokens, which this method does not learn.
        """
        super().lay_out()
        for part in self.renderer.template.parts_of("soft"):
            self.renderer.template.fail(
                part.column, f"{self.method()} learns no tokens; write words, or use prompt_tuning or p_tuning"
            )

    def rebuild(self) -> None:
        """Look the label words up; words of several pieces, or of each text, are no fact of one blank."""
        super().rebuild()
        self.reads = Reads.TEXT if self.whole_words or self.choices else Reads.TEXT_FEATURES

    @property
    def text_encoder(self) -> TextEncoder:
        """The model's state at the blank."""
        return ReadOut(self.renderer)

    def states(self, batch: Batch) -> Tensor:
        """(B, E), from the batch where it holds them, or else of its texts."""
        return self.text_encoder(texts_of(batch)) if batch.features is None else batch.features

    def word_scores(self, batch: Batch) -> Tensor:
        """Scores (B, U) at the blank of the vocabulary rows that the label words need."""
        return self.backbone.words_of(self.states(batch), self.verbalizer.ids)
