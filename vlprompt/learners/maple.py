"""MaPLe: image prompts that follow from text prompts, layer by layer. Khattak et al., CVPR 2023 (arXiv:2210.03117).

    image prompt of layer i = F_i(P_i),  P_i its text prompt, F_i linear (section 3.2)

As in the authors' code (trainers/maple.py) the couplings of the deeper layers start from the same random weights, and
words of the initial context beyond the learned tokens stay in the prompt as they are. The published runs are in fp16
with half of the parameters in fp32; here the prompts are always fp32.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.data.batch import Batch
from vlprompt.deep_prompts import STD, by_layer, check_depth, split_words
from vlprompt.errors import UsageError
from vlprompt.init import from_words, seeded
from vlprompt.layout import PromptLayout
from vlprompt.learners.base import PromptLearner, Reads, Variant, images_of
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class MaPLeConfig:
    """The coupled prompts (configs/trainers/MaPLe/vit_b16_c2_ep5_batch4_2ctx.yaml)."""

    n_ctx: int = 2  # learned tokens in each layer of each tower
    depth: int = 9  # layers with learned tokens, the input counted
    words: str = "a photo of a"  # the first n_ctx tokens are where P_0 starts, the others stay; "" for noise

    def __post_init__(self) -> None:
        """Raise UsageError for prompts without tokens or depth."""
        if self.n_ctx < 1 or self.depth < 1:
            raise UsageError(f"n_ctx {self.n_ctx}, depth {self.depth}: both must be 1 or more.")


@final
class MaPLe(PromptLearner[Clip]):
    """Deep prompts of the text tower, and a linear map for each that makes the image tower's."""

    reads = Reads.IMAGES

    def __init__(
        self, clip: Clip, classes: Sequence[str], config: MaPLeConfig = MaPLeConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(clip, classes, config, seed=seed)
        check_depth("depth", config.depth, "text", clip.text_layers)
        check_depth("depth", config.depth, "image", clip.vision_layers)
        learned, self.words = split_words(clip, config.words, config.n_ctx)
        with seeded(seed):
            start = STD * torch.randn(config.depth, config.n_ctx, clip.text_width)
            first, later = (nn.Linear(clip.text_width, clip.vision_width) for _ in range(2))
        if learned:
            start[0] = from_words(clip, learned)
        self.prompts = nn.Parameter(start.to(clip.device))  # (J, n, D)
        copies = [copy.deepcopy(later) for _ in range(config.depth - 1)]
        self.couplings = nn.ModuleList([first, *copies]).to(clip.device)
        self.rebuild()

    def rebuild(self) -> None:
        """Lay the prompts out for the current class names."""
        self.layout = PromptLayout(self.backbone, self.classes, self.config.n_ctx, fixed=self.words)

    @property
    def keeps_classes(self) -> str:
        """Any names will do."""
        return ""

    def text(self) -> Tensor:
        """(1, C, E) text features."""
        deep = dict(enumerate(self.prompts[1:], start=1))
        return self.backbone.encode_text(self.layout.fill(self.prompts[:1], deep))

    def image(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images -> (B, E) features."""
        coupled = [coupling(prompt) for coupling, prompt in zip(self.couplings, self.prompts, strict=True)]
        return self.backbone.encode_image(images, by_layer(coupled))

    def soft_tokens(self) -> Mapping[str, Tensor]:
        """The tokens at the text tower's input; those of later layers stand among states, not among words."""
        return {"prompts": self.prompts[0]}

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self.backbone.scores(self.image(images_of(batch)), self.once("text", self.text))


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """The paper's training: batches of 4, 5 epochs (vit_b16_c2_ep5_batch4_2ctx.yaml)."""
    return TrainConfig(epochs=5, batch_size=4, lr=0.0035)


def cross_dataset_recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """On ImageNet, for other data sets and domains: 2 epochs (vit_b16_c2_ep5_batch4_2ctx_cross_datasets.yaml)."""
    return TrainConfig(epochs=2, batch_size=4, lr=0.0026)


VARIANTS = {
    "maple-paper": Variant(MaPLeConfig(), recipe, "Khattak et al. 2023a (arXiv:2210.03117): 2 tokens, 9 layers"),
    "maple-cross-dataset": Variant(
        MaPLeConfig(depth=3),
        cross_dataset_recipe,
        "Khattak et al. 2023a, cross-dataset and domain generalisation: 2 tokens, 3 layers",
    ),
}
