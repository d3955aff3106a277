"""Linear probe of texts: a linear head on a frozen language model's state, trained by gradients. The baseline.

It is `linear` for texts. The state is that of the first token ([CLS]; of a causal model the last), as `fine_tuning`
reads it, or that at the blank of a hard prompt: then it differs from `soft_verbalizer` in its start only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, final, get_args

from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze.base import NULL_TEMPLATE, ClozeConfig
from vlprompt.cloze.frozen import FrozenCloze, ReadOut
from vlprompt.cloze.rendering import Renderer
from vlprompt.cloze.template import Template, without_words
from vlprompt.data.batch import Batch
from vlprompt.data.texts import Text
from vlprompt.errors import unknown
from vlprompt.head import KEEPS_CLASSES, linear_head
from vlprompt.learners.backbone import TextEncoder
from vlprompt.learners.base import Variant
from vlprompt.recipe import TrainConfig

At = Literal["first", "blank"]


@dataclass(frozen=True)
class TextLinearConfig(ClozeConfig):
    """Which state a linear head reads; label words play no part."""

    at: At = "first"  # the first token, of the fields alone; or the blank of the template

    def __post_init__(self) -> None:
        """Raise UsageError for a place that is not known."""
        super().__post_init__()
        if self.at not in get_args(At):
            raise unknown("place to read at", self.at, get_args(At))


@dataclass(frozen=True)
class FirstToken:
    """A frozen model's last layer at the first token, as a function of texts."""

    renderer: Renderer

    @property
    def key(self) -> str:
        """The fields, the longest row and the tokenizer."""
        return f"first {self.renderer.key}"

    def __call__(self, texts: Sequence[Text]) -> Tensor:
        """B texts -> (B, D)."""
        return self.renderer.lm.hidden(self.renderer(texts))


@final
class TextLinear(FrozenCloze):
    """A weight vector per class on a state of the frozen model."""

    config: TextLinearConfig

    def __init__(
        self, lm: LanguageModel, classes: Sequence[str], config: TextLinearConfig = TextLinearConfig(), *, seed: int = 0
    ) -> None:
        template = config.template or NULL_TEMPLATE
        own = template if config.at == "blank" else without_words(Template(template))
        super().__init__(lm, classes, replace(config, template=own), seed=seed)
        if config.at == "blank":
            lm.check_linear()
        width = lm.state_width if config.at == "blank" else int(lm.model.config.hidden_size)
        self.head = linear_head(width, len(self.classes), seed=seed).to(lm.device)

    @property
    def has_blank(self) -> bool:
        """Where the state at the blank is read."""
        return bool(self.config.at == "blank")

    def rebuild(self) -> None:
        """There are no label words to look up."""

    @property
    def keeps_classes(self) -> str:
        """There is a weight vector for each class it saw."""
        return KEEPS_CLASSES

    @property
    def text_encoder(self) -> TextEncoder:
        """The state that is read."""
        return ReadOut(self.renderer) if self.has_blank else FirstToken(self.renderer)

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self.head(self.states(batch))  # type: ignore[no-any-return]


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """Ours: AdamW at 1e-3, batches of 32, 200 epochs, which are cheap on states that are kept."""
    return TrainConfig(
        epochs=200, batch_size=32, lr=1e-3, optimizer="adamw", weight_decay=0.01, schedule="linear", warmup="none",
        augment="none",
    )  # fmt: skip


VARIANTS = {
    "first": Variant(TextLinearConfig(), recipe, "ours: a linear probe of the first token's state"),
    "blank": Variant(TextLinearConfig(at="blank"), recipe, "ours: a linear probe of the state at the blank"),
}
