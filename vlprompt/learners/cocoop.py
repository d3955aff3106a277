"""CoCoOp: a context that each image shifts. Zhou et al., CVPR 2022 (arXiv:2203.05557).

    pi(x) = W2 relu(W1 f(x) + b1) + b2,  f(x) normalised;  V_m(x) = V_m + pi(x) for every m

The authors' code encodes the texts of one image after the other; here a batch is one prompt with a prefix variant per
image, which gives the same numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.init import from_words, normal, seeded
from vlprompt.layout import PromptLayout
from vlprompt.learners.base import PromptLearner, Reads, Variant, features_of
from vlprompt.recipe import TrainConfig

MOST_TEXTS = 2**14  # texts (images x classes) whose features are held at once at test time


@dataclass(frozen=True)
class CoCoOpConfig:
    """The context of CoCoOp and the network that shifts it."""

    n_ctx: int = 4  # M, when it starts from noise; with `words`, as many as these have tokens
    words: str = "a photo of a"  # start from these words (CoOp, vit_b16_c4_ep10_batch1_ctxv1.yaml); "" for noise
    reduction: int = 16  # hidden width of the Meta-Net: the features' width divided by this (trainers/cocoop.py)

    def __post_init__(self) -> None:
        """Raise UsageError for a context without tokens or a network without width."""
        if self.n_ctx < 1 or self.reduction < 1:
            raise UsageError(f"n_ctx {self.n_ctx}, reduction {self.reduction}: both must be 1 or more.")


@final
class CoCoOp(PromptLearner[Clip]):
    """One learned context for all classes, shifted by a small network that sees the image."""

    reads = Reads.FEATURES

    def __init__(
        self, clip: Clip, classes: Sequence[str], config: CoCoOpConfig = CoCoOpConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(clip, classes, config, seed=seed)
        start = from_words(clip, config.words) if config.words else normal(config.n_ctx, clip.text_width, seed=seed)
        self.context = nn.Parameter(start.to(clip.device))  # (M, D)
        hidden = max(1, clip.embed_dim // config.reduction)
        with seeded(seed):
            layers = nn.Linear(clip.embed_dim, hidden), nn.ReLU(), nn.Linear(hidden, clip.text_width)
        self.meta_net = nn.Sequential(*layers).to(clip.device)
        self.rebuild()

    def rebuild(self) -> None:
        """Lay the prompts out for the current class names."""
        self.layout = PromptLayout(self.backbone, self.classes, len(self.context))

    @property
    def keeps_classes(self) -> str:
        """Any names will do."""
        return ""

    def shift(self, features: Tensor) -> Tensor:
        """(B, E) image features -> (B, D), what each image adds to every context token."""
        return self.meta_net(F.normalize(features, dim=-1))  # type: ignore[no-any-return]

    def starts(self, features: Tensor, *, reference_quirks: bool = False) -> Tensor:
        """(B, E) image features -> (B, M, D), the context of each image, which is where tuning starts for it.

        TPT's code shows the network features that are not normalised (clip/cocoop.py, gen_ctx): the quirk.
        """
        shift = self.meta_net(features) if reference_quirks else self.shift(features)
        return self.context + shift[:, None]

    def text(self, features: Tensor) -> Tensor:
        """(B, E) image features -> (B, C, E) text features, of each image its own."""
        return self.backbone.encode_text(self.layout.fill(self.starts(features)))

    def soft_tokens(self) -> Mapping[str, Tensor]:
        """The learned context."""
        return {"context": self.context}

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C); at test time a few images at once, so that memory does not grow with the batch."""
        features = features_of(batch)
        at_once = len(features) if torch.is_grad_enabled() else max(1, MOST_TEXTS // len(self.classes))
        parts = torch.split(features, at_once)
        return torch.cat([self.backbone.scores(part, self.text(part)) for part in parts])


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """The paper's training: batches of 1, 10 epochs (CoOp, vit_b16_c4_ep10_batch1_ctxv1.yaml)."""
    return TrainConfig(epochs=10, batch_size=1)


VARIANTS = {"cocoop-paper": Variant(CoCoOpConfig(), recipe, "Zhou et al. 2022 (arXiv:2203.05557): M=4")}
