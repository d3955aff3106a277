"""KgCoOp: a context that stays near hand-written prompts. Yao et al., CVPR 2023 (arXiv:2303.13283).

    loss = CE + lambda * mean_i (1 - cos(w_i, w_i^clip)),  lambda = 8

This is the authors' code (htyao89/KgCoOp, trainers/kgcoop.py). The paper's eq. 4 writes the distance as
||w_i - w_i^clip||^2, which for normalised features is 2 (1 - cos): to follow it, double `weight`. The hand-written
prompts are the task's; the code's differ for DTD only ("a photo of a {}, a type of texture.", `kgcoop-dtd`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.config import CountOrZero, NonNegative
from vlprompt.data.batch import Batch, features_of
from vlprompt.data.templates import Templates
from vlprompt.prompts.context_learner import AnchoredContext
from vlprompt.prompts.words import StartConfig, start_context
from vlprompt.training.config import TrainConfig, Variant


@dataclass(frozen=True)
class KgCoOpConfig(StartConfig):
    """The context of KgCoOp and its distance loss."""

    n_ctx: CountOrZero = 0  # M, learned tokens; 0: as many as `words` have, or 4 (scripts/base2new_train.sh)
    words: str = "a photo of a"  # start from these words, as the code always does; "" for noise
    weight: NonNegative = 8.0  # lambda (paper, section 4.1; run.sh, scripts/xd_train.sh)
    templates: Templates = ()  # hand-written prompts to stay near; none: the task's own, or "a photo of a {}."


@final
class KgCoOp(AnchoredContext[KgCoOpConfig]):
    """One learned context for all classes, whose text features stay near the frozen ones."""

    Config = KgCoOpConfig
    from_task = ("templates",)

    def __init__(
        self, clip: Clip, classes: Sequence[str], config: KgCoOpConfig | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(clip, classes, config, seed=seed)
        self.templates = self.config.templates
        self.context = nn.Parameter(start_context(clip, self.config, tokens=4, seed=seed))  # (M, D)
        self.rebuild()

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy plus the distance of the prompts from the hand-written ones."""
        text = self.text()
        scores = self.backbone.scores(features_of(batch), text)
        return F.cross_entropy(scores, batch.labels) + self.config.weight * self.distance(text[0])

    def distance(self, text: Tensor) -> Tensor:
        """One minus the mean cosine of (C, E) text features and the hand-written prompts' ones."""
        return 1 - F.cosine_similarity(text, self.frozen, dim=-1).mean()


RECIPE = TrainConfig(epochs=100, batch_size=128)  # the code's (configs/trainers/KgCoOp/vit_b16_ep100_ctxv1.yaml)

DTD = ("a photo of a {}, a type of texture.",)  # (trainers/kgcoop.py)
VARIANTS = {
    "kgcoop-paper": Variant(KgCoOpConfig(n_ctx=4), RECIPE, "Yao et al. 2023 (arXiv:2303.13283): M=4, lambda=8"),
    "kgcoop-dtd": Variant(KgCoOpConfig(n_ctx=4, templates=DTD), RECIPE, "Yao et al. 2023, its code's DTD template"),
}
