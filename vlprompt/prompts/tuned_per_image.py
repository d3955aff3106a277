"""TunedPerImage: a prompt tuned for each test image and then discarded, what TPT and its variants share.

Every image starts from the same context (or, over CoCoOp, from the one generated for it), takes a few steps of a fresh
AdamW on a loss of its own confident views, and is classified by its plain view. Nothing remains afterwards, so a
prediction does not depend on other images.
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.config import Count, NonNegative, Positive, Settings, Share
from vlprompt.data.batch import Batch, views_of
from vlprompt.data.needs import Input, Needs
from vlprompt.data.views import Views
from vlprompt.errors import UsageError
from vlprompt.learner import PromptLearner
from vlprompt.prompts.context import TEXTS_AT_ONCE
from vlprompt.prompts.context_tuning import EncodedContext, Tunable, WordContext, confident
from vlprompt.prompts.frozen_head import SeveralViews


@dataclass(frozen=True)
class TuningConfig(Settings):
    """The start and the steps of tuning; the defaults are those of azshue/TPT, tpt_classification.py."""

    words: str = "a photo of a"  # the initial context; [CLASS] marks the name unless it is last (scripts/test_tpt.sh)
    views: SeveralViews = 64  # of each image, the plain one included (--batch-size)
    augmix: bool = False  # AugMix on top of crops and flips; the paper's choice for fine-grained sets, not for ImageNet
    confident: Share = 0.1  # rho, the share of views that count (--selection_p)
    steps: Count = 1  # of AdamW (--tta_steps)
    lr: Positive = 0.005  # (--lr)
    weight_decay: NonNegative = 0.01  # AdamW's default in torch, which the code uses
    reference_quirks: bool = False  # over CoCoOp: its network reads features that are not normalised (clip/cocoop.py)


T = TypeVar("T", bound=TuningConfig)


class TunedPerImage(PromptLearner[Clip, T], abc.ABC):
    """Tunes a context for each image: `forward` computes the scores before, `predict` those after.

    It has no trainable tensors of its own. A saved prompt holds the config only; where it wraps a trained learner, also
    that learner's config and tensors.

    Attributes:
        inner: The owner of the context: words, or a trained learner (see `over`).
    """

    needs = Needs(input=Input.VIEWS, trains=False)
    inner: Tunable

    def __init__(self, clip: Clip, classes: Sequence[str], config: T | None = None, *, seed: int = 0) -> None:
        super().__init__(clip, classes, config, seed=seed)
        self.needs = replace(self.needs, views=Views(self.config.views, self.config.augmix, seed))
        self.inner = WordContext(clip, self.classes, self.config.words)
        self._encoded: EncodedContext | None = None

    @classmethod
    def over(cls, learner: PromptLearner[Any, Any], config: T | None = None) -> Self:
        """Tune the context of a trained learner, which becomes part of this one and changes classes with it.

        Args:
            learner: Of a method with a context of words, such as CoOp or CoCoOp.
            config: Settings; the method's default ones if None. `words` is not used.

        Raises:
            UsageError: The learner has no such context.
        """
        if not isinstance(learner, Tunable):
            raise UsageError(
                f"{cls.method()} tunes a context of words, and {learner.method()} offers none (`initial_contexts`); "
                f"wrap coop or cocoop, or use {cls.method()} alone."
            )
        tuned = cls(learner.backbone, learner.classes, config, seed=learner.seed)
        tuned.inner = learner
        tuned.why_classes_fixed = learner.why_classes_fixed
        return tuned

    def description(self) -> dict[str, object]:
        """What a saved prompt states besides its tensors, the wrapped learner included."""
        wrapped = {"over": self.inner.description()} if isinstance(self.inner, PromptLearner) else {}
        return super().description() | wrapped

    def rebuild(self) -> None:
        """Lay out the prompts of the current class names."""
        self.inner.set_classes(self.classes)

    @abc.abstractmethod
    def objective(self, scores: Tensor, text: Tensor) -> Tensor:
        """The loss of an image's context, a scalar, from the (K, C) scores of confident views and the (C, E) text."""

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C) of the plain views before any tuning."""
        return torch.cat([self._untuned(views) for views in self._parts(batch)])

    @torch.no_grad()
    def predict(self, batch: Batch) -> Tensor:
        """Class scores (B, C) of the plain views, each with the context tuned for it."""
        return torch.cat([self.context_scores(views[:, 0], self.tune(views)) for views in self._parts(batch)])

    @torch.no_grad()
    def tune(self, views: Tensor) -> Tensor:
        """(B, V, E) views of B images, the plain one first -> (B, n, D) contexts, each tuned for its image alone."""
        contexts = nn.Parameter(self.initial_contexts(views[:, 0]))
        optimizer = torch.optim.AdamW([contexts], lr=self.config.lr, weight_decay=self.config.weight_decay)
        contexts.grad, chosen = self._first(contexts, views)
        optimizer.step()
        for _ in range(1, self.config.steps):
            pairs = zip(torch.split(contexts, 1), torch.split(chosen, 1), strict=True)
            contexts.grad = torch.cat([self._gradients(self._encode(context), some) for context, some in pairs])
            optimizer.step()
        return contexts.detach()

    def _first(self, initial: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients (B, n, D) at the initial contexts, and the confident views (B, K, E) of (B, V, E)."""
        size = len(views) if _all_equal(initial) else 1
        gradients, chosen = [], []
        for context, some in zip(torch.split(initial, size), torch.split(views, size), strict=True):
            encoded = self.encoded(context[:1])
            selected = torch.stack([self._select(each, encoded.text) for each in some])
            gradients.append(self._gradients(encoded, selected))
            chosen.append(selected)
        return torch.cat(gradients), torch.cat(chosen)

    def _select(self, views: Tensor, text: Tensor) -> Tensor:
        """(V, E) -> (K, E), the confident ones."""
        return views[confident(self.backbone.scores(views, text), self.config.confident)]

    def _gradients(self, encoded: EncodedContext, chosen: Tensor) -> Tensor:
        """(B, n, D), of the losses of B images, each with its confident views (B, K, E), at one context."""
        return encoded.gradients(torch.cat([self._text_gradient(views, encoded.text) for views in chosen]))

    def _parts(self, batch: Batch) -> tuple[Tensor, ...]:
        """The views of a batch, in parts of as many images as `TEXTS_AT_ONCE` allows."""
        return torch.split(views_of(batch), max(1, TEXTS_AT_ONCE // len(self.classes)))

    def initial_contexts(self, plain: Tensor) -> Tensor:
        """(B, E) features of plain views -> (B, n, D), computed image by image so that no rounding differs."""
        quirks = self.config.reference_quirks
        return torch.cat([self.inner.initial_contexts(one, reference_quirks=quirks) for one in torch.split(plain, 1)])

    def _encode(self, context: Tensor) -> EncodedContext:
        return EncodedContext(self.backbone, self.inner.context_layout(), context)

    def encoded(self, context: Tensor) -> EncodedContext:
        """An initial context (1, n, D), encoded; the last one is cached until it or the classes change."""
        if self._encoded is None or not self._encoded.is_of(self.inner.context_layout(), context):
            self._encoded = None  # frees the old one before the new one is computed
            self._encoded = self._encode(context)
        return self._encoded

    def _text_gradient(self, views: Tensor, text: Tensor) -> Tensor:
        """The gradient of an image's loss with respect to the text features, (1, C, E)."""
        with torch.enable_grad():
            leaf = text.detach().requires_grad_()
            loss = self.objective(self.backbone.scores(views, leaf), leaf[0])
        return torch.autograd.grad(loss, leaf)[0]

    def _untuned(self, views: Tensor) -> Tensor:
        """(B, V, E) -> (B, C), the plain views with the initial contexts."""
        plain = views[:, 0]
        contexts = self.initial_contexts(plain)
        if _all_equal(contexts):
            return self.backbone.scores(plain, self.encoded(contexts[:1]).text)
        return self.context_scores(plain, contexts)

    def context_scores(self, plain: Tensor, contexts: Tensor) -> Tensor:
        """(B, E) features and (B, n, D) contexts -> (B, C)."""
        prompt = self.inner.context_layout().fill(contexts)
        return self.backbone.scores(plain, self.backbone.encode_text(prompt))


def _all_equal(contexts: Tensor) -> bool:
    """Whether all of (B, n, D) are the same."""
    return bool((contexts == contexts[:1]).all())
