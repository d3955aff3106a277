"""CLIP's text encoder as a classifier of texts: the cosine of a text and a class name. A baseline, nothing is learned.

A CLIP's text tower was never trained to fill blanks and has no head for words, so there is no cloze to read from it;
what it can say honestly is how near two texts are. Radford et al., ICML 2021 (arXiv:2103.00020) compare texts with
images; this compares them with one another. A text that is longer than the tower takes is cut at its end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from vlprompt.backbones.clip import Clip
from vlprompt.classifier import template_features
from vlprompt.data.batch import Batch
from vlprompt.data.texts import Text
from vlprompt.errors import warn
from vlprompt.learners.backbone import TextEncoder
from vlprompt.learners.base import PromptLearner, Reads, Variant, texts_of
from vlprompt.recipe import TrainConfig
from vlprompt.templates import Template


@dataclass(frozen=True)
class ClipTextConfig:
    """Which words stand around a class name."""

    template: str = "{}"  # the name alone; the task's templates are clozes and say nothing to a CLIP

    def __post_init__(self) -> None:
        """Raise UsageError for a template that has no place for the name."""
        Template(self.template)


@dataclass(frozen=True)
class WholeTexts:
    """A frozen CLIP's features of texts, their fields one after another."""

    clip: Clip

    @property
    def key(self) -> str:
        """The only way there is, and the tokenizer's longest row."""
        return f"clip, {self.clip.tokenizer.context_length} tokens"

    @torch.no_grad()
    def __call__(self, texts: Sequence[Text]) -> Tensor:
        """B texts -> (B, E)."""
        tokens = self.clip.tokenizer
        room = tokens.context_length - len(tokens.lead) - len(tokens.tail)
        words = [" ".join(text.values()) for text in texts]
        pieces = [tokens.pieces(each)[:room] for each in words]
        used = {piece for row in pieces for piece in row}
        if tokens.known is not None and (new := used - tokens.known):
            share = f"{len(new)} of the {len(used)} words of these texts"
            warn(f"{self.clip.name} was never trained on {share}; use another CLIP.")
        rows = [[*tokens.lead, *row, *tokens.tail] for row in pieces]
        return self.clip.encode_text(self.clip.prompt_of(tokens.pad_rows(rows, words)))[0]


@final
class ClipText(PromptLearner[Clip]):
    """Scaled cosine of a text's feature and those of class names."""

    reads = Reads.TEXT_FEATURES
    learns = False
    config: ClipTextConfig

    def __init__(
        self, clip: Clip, classes: Sequence[str], config: ClipTextConfig = ClipTextConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(clip, classes, config, seed=seed)

    @property
    def keeps_classes(self) -> str:
        """Any names will do."""
        return ""

    @property
    def text_encoder(self) -> TextEncoder:
        """The text tower."""
        return WholeTexts(self.backbone)

    def names(self) -> Tensor:
        """(C, E) normalised features of the class names."""
        return self.once("names", lambda: template_features(self.backbone, self.classes, (self.config.template,)))

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        features = self.text_encoder(texts_of(batch)) if batch.features is None else batch.features
        return self.backbone.scores(features, self.names())

    def opened(self, items: Sequence[Any]) -> Batch:
        """An unlabelled batch of texts, given as strings or as mappings of fields."""
        return Batch.of_texts(items).to(self.backbone.device)


def recipe(shots: int = 0, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """Nothing is trained."""
    return TrainConfig(epochs=0, augment="none")


VARIANTS = {"plain": Variant(ClipTextConfig(), recipe, "baseline: text to class name by CLIP's text encoder")}
