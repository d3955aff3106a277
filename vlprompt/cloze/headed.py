"""A cloze learner that may read the class by a linear layer instead of label words, as P-tuning v2 does."""

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn

from vlprompt.backbones.sequences import Sequences, Steering
from vlprompt.cloze.base import NULL_TEMPLATE, ClozeConfig, ClozeLearner
from vlprompt.cloze.template import Template, without_words
from vlprompt.data.batch import Batch
from vlprompt.errors import unknown

Reading = Literal["words", "head"]


@dataclass(frozen=True)
class HeadedConfig(ClozeConfig):
    """How the class is read."""

    # "words": label words at the blank. "head": a linear layer on the first token's last state (the last token's, of a
    # causal model); a masked language model brings no pooler, so there is none.
    readout: Reading = "words"

    def __post_init__(self) -> None:
        """Raise UsageError for a read-out that is not known."""
        super().__post_init__()
        if self.readout not in get_args(Reading):
            raise unknown("readout", self.readout, get_args(Reading))

    @property
    def shown(self) -> str:
        """The template; where a linear layer reads, its fields alone."""
        template = self.template or NULL_TEMPLATE
        return template if self.readout == "words" else without_words(Template(template))


class HeadedCloze(ClozeLearner):
    """Label words in a blank, or a linear layer on a text without one. Subclasses are final and set `head`."""

    config: HeadedConfig
    head: nn.Linear | None

    def linear_layer(self) -> nn.Linear | None:
        """The layer as torch starts it, where one is asked for."""
        if self.config.readout == "words":
            return None
        return nn.Linear(self.backbone.model.config.hidden_size, len(self.classes)).to(self.backbone.device)

    @property
    def has_blank(self) -> bool:
        """A linear layer needs none."""
        return bool(self.config.readout == "words")

    @property
    def keeps_classes(self) -> str:
        """The linear layer has a row for each class."""
        return "" if self.has_blank else "its head has a row for each class; train with readout='words'"

    def prompted(self, batch: Batch) -> tuple[Sequences, Steering]:
        """What the model is given: the batch's texts, and what is learned."""
        return self.sequences(batch), self.steering()

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        if self.head is None:
            return super().forward(batch)
        return self.head(self.backbone.hidden(*self.prompted(batch)))  # type: ignore[no-any-return]
