"""Prompts that are tuned for each test image and then forgotten: what TPT and its kin share.

Every image starts from the same prompt (or, over CoCoOp, from one that it generates itself), takes a few AdamW steps
from a fresh state on a loss of its own confident views, is judged by its plain view, and leaves nothing behind. So its
answer does not depend on the images before it, after it or beside it.
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.learners.base import PromptLearner, Reads, views_of
from vlprompt.tuning import EncodedContext, Tunable, Words, confident

MOST_TEXTS = 2**14  # texts (images x classes) whose features are held at once


@dataclass(frozen=True)
class TuningConfig:
    """Where tuning starts and how it goes; the defaults are those of azshue/TPT, tpt_classification.py."""

    words: str = "a photo of a"  # the start, with [CLASS] where the name stands if not at the end (scripts/test_tpt.sh)
    views: int = 64  # of each image, the plain one among them (--batch-size)
    augmix: bool = False  # AugMix on top of crops and flips; the paper's choice for fine-grained sets, not for ImageNet
    confident: float = 0.1  # rho, the share of views that count (--selection_p)
    steps: int = 1  # of AdamW (--tta_steps)
    lr: float = 0.005  # (--lr)
    weight_decay: float = 0.01  # AdamW's default in torch, which is what the code uses
    reference_quirks: bool = False  # over CoCoOp: show its network features that are not normalised (clip/cocoop.py)

    def __post_init__(self) -> None:
        """Raise UsageError for settings that cannot work."""
        if self.views < 2:
            raise UsageError(f"views is {self.views}; tuning compares views of an image, so give 2 or more (TPT: 64).")
        if not 0 < self.confident <= 1:
            raise UsageError(f"confident is {self.confident}; it is a share of the views, above 0 and at most 1.")
        if self.steps < 1 or not self.lr > 0 or not self.weight_decay >= 0:
            raise UsageError(
                f"steps {self.steps}, lr {self.lr}, weight_decay {self.weight_decay}: steps must be 1 or more, "
                "lr above 0, weight_decay 0 or more."
            )


class Tuned(PromptLearner[Clip], abc.ABC):
    """Tunes a context for each image; `forward` is the answer before that, `predict` after it.

    Nothing of its own is learned. A checkpoint of one that starts from words holds its configuration only; over a
    trained learner it holds that learner too, configuration and tensors.

    Attributes:
        inner: Whose context is tuned: words, or a trained learner (see `over`).
    """

    reads = Reads.VIEWS
    learns = False
    config: TuningConfig

    def __init__(self, clip: Clip, classes: Sequence[str], config: TuningConfig, *, seed: int = 0) -> None:
        super().__init__(clip, classes, config, seed=seed)
        self.inner: Tunable = Words(clip, self.classes, config.words)
        self._start: EncodedContext | None = None

    @classmethod
    def over(cls, learner: PromptLearner[Any], config: Any = None) -> Self:
        """Tune the context of a trained learner, which is then part of this one: they change classes together.

        Args:
            learner: Of a method with a context of words, such as CoOp or CoCoOp.
            config: Settings, the method's own by default; `words` is not used.

        Raises:
            UsageError: The learner has no such context.
        """
        if not (isinstance(learner, Tunable) and isinstance(learner, PromptLearner)):
            raise UsageError(
                f"{cls.method()} tunes a context of words, and {learner.method()} offers none (`starts`); wrap coop or "
                f"cocoop, or use {cls.method()} alone."
            )
        given = {} if config is None else {"config": config}
        tuned = cls(learner.backbone, learner.classes, **given, seed=learner.seed)
        tuned.inner = learner
        return tuned

    def about(self) -> dict[str, object]:
        """What a checkpoint says besides tensors, the wrapped learner included."""
        wrapped = {"over": self.inner.about()} if isinstance(self.inner, PromptLearner) else {}
        return super().about() | wrapped

    @property
    def keeps_classes(self) -> str:
        """The reason of the learner that is wrapped; words take any names."""
        return self.inner.keeps_classes

    def rebuild(self) -> None:
        """Lay the prompts out for the current class names."""
        self.inner.set_classes(self.classes)

    @abc.abstractmethod
    def objective(self, scores: Tensor, text: Tensor) -> Tensor:
        """What an image's context is tuned to make small, from its (K, C) confident scores and the (C, E) text."""

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C) of the plain views before any tuning."""
        return torch.cat([self._before(views) for views in self._parts(batch)])

    @torch.no_grad()
    def predict(self, batch: Batch) -> Tensor:
        """Class scores (B, C) of the plain views, each by the context tuned for it."""
        return torch.cat([self.scores(views[:, 0], self.tune(views)) for views in self._parts(batch)])

    @torch.no_grad()
    def tune(self, views: Tensor) -> Tensor:
        """(B, V, E) views of B images, the plain one first -> (B, n, D) contexts, each tuned for its image alone."""
        contexts = nn.Parameter(self.starts(views[:, 0]))
        optimizer = torch.optim.AdamW([contexts], lr=self.config.lr, weight_decay=self.config.weight_decay)
        contexts.grad, seen = self._first(contexts, views)
        optimizer.step()
        for _ in range(1, self.config.steps):
            moved = zip(torch.split(contexts, 1), torch.split(seen, 1), strict=True)
            contexts.grad = torch.cat([self._gradients(self._encode(context), some) for context, some in moved])
            optimizer.step()
        return contexts.detach()

    def _first(self, starts: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients (B, n, D) at (B, n, D) starts, and the views that count from then on, (B, K, E) of (B, V, E)."""
        size = len(views) if _equal(starts) else 1
        gradients, seen = [], []
        for start, some in zip(torch.split(starts, size), torch.split(views, size), strict=True):
            encoded = self.encoded(start[:1])
            chosen = torch.stack([self._confident(each, encoded.text) for each in some])
            gradients.append(self._gradients(encoded, chosen))
            seen.append(chosen)
        return torch.cat(gradients), torch.cat(seen)

    def _gradients(self, encoded: EncodedContext, seen: Tensor) -> Tensor:
        """(B, n, D), of the losses of B images, each with its confident views (B, K, E), at one context."""
        return encoded.gradients(torch.cat([self._above(views, encoded.text) for views in seen]))

    def _parts(self, batch: Batch) -> tuple[Tensor, ...]:
        """The views of a batch, as many images at once as there is room for the text features of."""
        return torch.split(views_of(batch), max(1, MOST_TEXTS // len(self.classes)))

    def starts(self, plain: Tensor) -> Tensor:
        """(B, E) features of plain views -> (B, n, D); by one image at a time, so that no rounding differs."""
        quirks = self.config.reference_quirks
        return torch.cat([self.inner.starts(one, reference_quirks=quirks) for one in torch.split(plain, 1)])

    def _encode(self, context: Tensor) -> EncodedContext:
        return EncodedContext(self.backbone, self.inner.layout, context)

    def encoded(self, start: Tensor) -> EncodedContext:
        """The text at a start, kept for the images to come while the start and the classes stay what they are."""
        if self._start is None or not self._start.is_of(self.inner.layout, start):
            self._start = None  # let go of the old one before the new one is made
            self._start = self._encode(start)
        return self._start

    def _confident(self, views: Tensor, text: Tensor) -> Tensor:
        """(V, E) -> (K, E)."""
        return views[confident(self.backbone.scores(views, text), self.config.confident)]

    def _above(self, views: Tensor, text: Tensor) -> Tensor:
        """The gradient of an image's loss with respect to the text features, (1, C, E)."""
        with torch.enable_grad():
            leaf = text.detach().requires_grad_()
            loss = self.objective(self.backbone.scores(views, leaf), leaf[0])
        return torch.autograd.grad(loss, leaf)[0]

    def _before(self, views: Tensor) -> Tensor:
        """(B, V, E) -> (B, C), the plain views by the contexts that tuning starts from."""
        plain = views[:, 0]
        starts = self.starts(plain)
        if _equal(starts):
            return self.backbone.scores(plain, self.encoded(starts[:1]).text)
        return self.scores(plain, starts)

    def scores(self, plain: Tensor, contexts: Tensor) -> Tensor:
        """(B, E) features and (B, n, D) contexts -> (B, C)."""
        return self.backbone.scores(plain, self.backbone.encode_text(self.inner.layout.fill(contexts)))


def _equal(contexts: Tensor) -> bool:
    """Whether all of (B, n, D) are the same."""
    return bool((contexts == contexts[:1]).all())
