"""CoCoOp: a context that each image shifts. Zhou et al., CVPR 2022 (arXiv:2203.05557).

    pi(x) = W2 relu(W1 f(x) + b1) + b2,  f(x) normalised;  V_m(x) = V_m + pi(x) for every m

The authors' code encodes the texts image by image; here a batch is one prompt with one variant of the prefix per image,
which gives the same numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.config import Count, CountOrZero
from vlprompt.data.batch import Batch, features_of
from vlprompt.learner import PromptLearner
from vlprompt.prompts.context import TEXTS_AT_ONCE, PromptLayout
from vlprompt.prompts.words import StartConfig, start_context
from vlprompt.randomness import seeded
from vlprompt.training.config import TrainConfig, Variant


@dataclass(frozen=True)
class CoCoOpConfig(StartConfig):
    """The context of CoCoOp and the network that shifts it."""

    n_ctx: CountOrZero = 0  # M, learned context tokens; 0: as many as `words` have, or 4
    words: str = "a photo of a"  # start from these words (CoOp, vit_b16_c4_ep10_batch1_ctxv1.yaml); "" for noise
    reduction: Count = 16  # hidden width of the Meta-Net: the features' width divided by this (trainers/cocoop.py)


@final
class CoCoOp(PromptLearner[Clip, CoCoOpConfig]):
    """One learned context for all classes, shifted by a small network that reads the image's features."""

    Config = CoCoOpConfig

    def __init__(
        self, clip: Clip, classes: Sequence[str], config: CoCoOpConfig | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(clip, classes, config, seed=seed)
        self.context = nn.Parameter(start_context(clip, self.config, tokens=4, seed=seed))  # (M, D)
        hidden = max(1, clip.embed_dim // self.config.reduction)
        with seeded(seed):
            layers = nn.Linear(clip.embed_dim, hidden), nn.ReLU(), nn.Linear(hidden, clip.text_width)
        self.meta_net = nn.Sequential(*layers).to(clip.device)
        self.rebuild()

    def rebuild(self) -> None:
        """Lay out the prompts of the current class names."""
        self.layout = PromptLayout(self.backbone, self.classes, len(self.context))

    def shift(self, features: Tensor) -> Tensor:
        """(B, E) image features -> (B, D), what each image adds to every context token."""
        return self.meta_net(F.normalize(features, dim=-1))  # type: ignore[no-any-return]

    def context_layout(self) -> PromptLayout:
        """The place of the context in the prompts."""
        return self.layout

    def initial_contexts(self, features: Tensor, *, reference_quirks: bool = False) -> Tensor:
        """(B, E) image features -> (B, M, D), the context of each image, from which tuning starts.

        In TPT's code the network reads features that are not normalised (clip/cocoop.py, gen_ctx): the quirk.
        """
        shift = self.meta_net(features) if reference_quirks else self.shift(features)
        return self.context + shift[:, None]

    def text(self, features: Tensor) -> Tensor:
        """(B, E) image features -> (B, C, E) text features of each image."""
        return self.backbone.encode_text(self.layout.fill(self.initial_contexts(features)))

    def soft_tokens(self) -> Mapping[str, Tensor]:
        """The learned context, before any shift."""
        return {"context": self.context}

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C); at test time a few images at once, so that memory does not grow with the batch."""
        features = features_of(batch)
        at_once = len(features) if torch.is_grad_enabled() else max(1, TEXTS_AT_ONCE // len(self.classes))
        parts = torch.split(features, at_once)
        return torch.cat([self.backbone.scores(part, self.text(part)) for part in parts])


RECIPE = TrainConfig(epochs=10, batch_size=1)  # the paper's (CoOp, vit_b16_c4_ep10_batch1_ctxv1.yaml)

VARIANTS = {"cocoop-paper": Variant(CoCoOpConfig(n_ctx=4), RECIPE, "Zhou et al. 2022 (arXiv:2203.05557): M=4")}
