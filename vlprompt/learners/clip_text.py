"""CLIP's text encoder as a classifier of texts: the cosine of a text and a class name. A baseline, nothing is learned.

The text tower of a CLIP was not trained to fill blanks and has no language-model head, so it cannot be used with cloze
templates. Radford et al., ICML 2021 (arXiv:2103.00020) compare texts with images; this compares them with one another.
A text that is too long for the tower is cut at its end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from vlprompt.backbones.clip import Clip
from vlprompt.config import Settings
from vlprompt.data.batch import Batch, features_of
from vlprompt.data.needs import Input, Needs
from vlprompt.data.templates import OneTemplate
from vlprompt.data.texts import Text
from vlprompt.errors import warn
from vlprompt.learner import PromptLearner
from vlprompt.prompts.zero_shot_head import template_features
from vlprompt.training.config import NO_TRAINING, Variant


@dataclass(frozen=True)
class ClipTextConfig(Settings):
    """The words around a class name."""

    template: OneTemplate = "{}"  # the name alone; the task's templates are clozes, which mean nothing to a CLIP


@dataclass(frozen=True)
class WholeTexts:
    """A frozen CLIP's features of texts, whose fields are joined by spaces; a `TextEncoder`."""

    clip: Clip

    @property
    def key(self) -> str:
        """Depends on the length of the tokenizer's rows only."""
        return f"clip, {self.clip.tokenizer.context_length} tokens"

    @torch.no_grad()
    def __call__(self, texts: Sequence[Text]) -> Tensor:
        """B texts -> (B, E)."""
        tokens = self.clip.tokenizer
        room = tokens.context_length - len(tokens.lead) - len(tokens.tail)
        words = [" ".join(text.values()) for text in texts]
        pieces = [tokens.pieces(each)[:room] for each in words]
        used = {piece for row in pieces for piece in row}
        if tokens.trained_ids is not None and (new := used - tokens.trained_ids):
            warn(
                f"{self.clip.name} was never trained on {len(new)} of the {len(used)} words of these texts; "
                "use another CLIP."
            )
        rows = [[*tokens.lead, *row, *tokens.tail] for row in pieces]
        return self.clip.encode_text(self.clip.prompt_of(tokens.pad_rows(rows, words)))[0]


@final
class ClipText(PromptLearner[Clip, ClipTextConfig]):
    """Scaled cosine of a text's feature and those of class names."""

    Config = ClipTextConfig
    needs = Needs(input=Input.TEXT_FEATURES, trains=False)

    def __init__(
        self, clip: Clip, classes: Sequence[str], config: ClipTextConfig | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(clip, classes, config, seed=seed)
        self.needs = replace(self.needs, text_encoder=WholeTexts(clip))

    def names(self) -> Tensor:
        """(C, E) normalised features of the class names."""
        return self.cached("names", lambda: template_features(self.backbone, self.classes, (self.config.template,)))

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self.backbone.scores(features_of(batch), self.names())


VARIANTS = {"plain": Variant(ClipTextConfig(), NO_TRAINING, "baseline: text to class name by CLIP's text encoder")}
