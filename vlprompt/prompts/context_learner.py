"""Learners of one context of tokens before or around every class name: CoOp, KgCoOp and ProGrad."""

import abc
from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor, nn

from vlprompt.backbones.prompt_types import TextPrompt
from vlprompt.prompts.context import PromptLayout
from vlprompt.prompts.cosine import CosineLearner
from vlprompt.prompts.zero_shot_head import template_features

C = TypeVar("C")


class ContextLearner(CosineLearner[C], abc.ABC):
    """A learned context among the words of each class; image features never change.

    A constructor creates `context` and calls `rebuild`.

    Attributes:
        context: (M, D) parameter, or (C, M, D) where each class has a context of its own.
        fixed: Words between the context and the class name that are not learned.
        layout: The prompts of the current classes.
    """

    context: nn.Parameter
    fixed: str = ""
    layout: PromptLayout

    def rebuild(self) -> None:
        """Lay out the prompts of the current class names."""
        self.layout = PromptLayout(self.backbone, self.classes, self.context.shape[-2], fixed=self.fixed)

    def prompt(self) -> TextPrompt:
        """The prompts of all classes, one variant."""
        return self.layout.fill(self.context.reshape(1, -1, self.context.shape[-1]))

    def text(self) -> Tensor:
        """(1, C, E) text features."""
        return self.backbone.encode_text(self.prompt())

    def soft_tokens(self) -> Mapping[str, Tensor]:
        """The learned context."""
        return {"context": self.context}


class AnchoredContext(ContextLearner[C], abc.ABC):
    """A learned context whose training compares it with hand-written prompts.

    A constructor sets `templates` before it calls `rebuild`.

    Attributes:
        templates: The hand-written prompts; none: "a photo of a {}.".
        frozen: (C, E) their normalised text features.
    """

    templates: tuple[str, ...]
    frozen: Tensor

    def rebuild(self) -> None:
        """Lay out the prompts of the current class names, and encode the hand-written ones."""
        super().rebuild()
        frozen = template_features(self.backbone, self.classes, self.templates)
        self.register_buffer("frozen", frozen, persistent=False)
