"""KgCoOp: a context that may not stray from hand-written prompts. Yao et al., CVPR 2023 (arXiv:2303.13283).

    loss = CE + lambda * mean_i (1 - cos(w_i, w_i^clip)),  lambda = 8

This is the authors' code (htyao89/KgCoOp, trainers/kgcoop.py). The paper's eq. 4 writes the distance as
||w_i - w_i^clip||^2, which for normalised features is 2 (1 - cos): to follow it, double `weight`. The hand-written
prompts are the task's; the code's differ for DTD only ("a photo of a {}, a type of texture.").
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self, final

import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.classifier import template_features
from vlprompt.data.batch import Batch
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.init import from_words, normal
from vlprompt.layout import PromptLayout
from vlprompt.learners.base import PromptLearner, Reads, Variant, features_of
from vlprompt.recipe import TrainConfig
from vlprompt.templates import ensemble


@dataclass(frozen=True)
class KgCoOpConfig:
    """The context of KgCoOp and what holds it back."""

    n_ctx: int = 4  # M, when it starts from noise (scripts/base2new_train.sh); with `words`, their tokens
    words: str = "a photo of a"  # start from these words, as the code always does; "" for noise
    weight: float = 8.0  # lambda (paper, section 4.1; scripts/base2new_train.sh)
    templates: tuple[str, ...] = ()  # hand-written prompts to stay near; none: the task's own, or "a photo of a {}."

    def __post_init__(self) -> None:
        """Raise UsageError for a context without tokens, a negative weight, or a template without a place."""
        object.__setattr__(self, "templates", tuple(self.templates))
        if self.n_ctx < 1 or not self.weight >= 0:
            raise UsageError(f"n_ctx {self.n_ctx}, weight {self.weight}: n_ctx must be 1 or more, weight 0 or more.")
        if self.templates:
            ensemble(self.templates)


@final
class KgCoOp(PromptLearner[Clip]):
    """One learned context for all classes whose text features stay near the frozen ones."""

    reads = Reads.FEATURES
    frozen: Tensor  # (C, E) normalised text features of the hand-written prompts

    def __init__(
        self, clip: Clip, classes: Sequence[str], config: KgCoOpConfig = KgCoOpConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(clip, classes, config, seed=seed)
        start = from_words(clip, config.words) if config.words else normal(config.n_ctx, clip.text_width, seed=seed)
        self.context = nn.Parameter(start.to(clip.device))  # (M, D)
        self.rebuild()

    @classmethod
    def for_task(cls, backbone: Clip, task: Task, config: KgCoOpConfig, *, seed: int = 0) -> Self:
        """Stay near the task's templates where the configuration names none."""
        return cls(backbone, task.classes, replace(config, templates=config.templates or task.templates), seed=seed)

    def rebuild(self) -> None:
        """Lay the prompts out for the current class names, and encode the hand-written ones."""
        self.layout = PromptLayout(self.backbone, self.classes, len(self.context))
        frozen = template_features(self.backbone, self.classes, self.config.templates)
        self.register_buffer("frozen", frozen, persistent=False)

    @property
    def keeps_classes(self) -> str:
        """Any names will do."""
        return ""

    def text(self) -> Tensor:
        """(1, C, E) text features."""
        return self.backbone.encode_text(self.layout.fill(self.context[None]))

    def soft_tokens(self) -> Mapping[str, Tensor]:
        """The learned context."""
        return {"context": self.context}

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self.backbone.scores(features_of(batch), self.once("text", self.text))

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy plus the distance of the prompts from the hand-written ones."""
        text = self.text()
        scores = self.backbone.scores(features_of(batch), text)
        distance = 1 - F.cosine_similarity(text[0], self.frozen, dim=-1).mean()
        return F.cross_entropy(scores, batch.labels) + float(self.config.weight) * distance


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """The code's training: batches of 128, 100 epochs (configs/trainers/KgCoOp/vit_b16_ep100_ctxv1.yaml)."""
    return TrainConfig(epochs=100, batch_size=128)


VARIANTS = {"kgcoop-paper": Variant(KgCoOpConfig(), recipe, "Yao et al. 2023 (arXiv:2303.13283): M=4, lambda=8")}
