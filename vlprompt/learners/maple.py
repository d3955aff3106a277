"""MaPLe: image prompts computed from text prompts, layer by layer. Khattak et al., CVPR 2023 (arXiv:2210.03117).

    image prompt of layer i = F_i(P_i),  P_i its text prompt, F_i linear (section 3.2)

As in the authors' code (trainers/maple.py) the couplings of the deeper layers start from the same random weights, and
words of the initial context beyond the learned tokens stay in the prompt unchanged. The published runs are in fp16 with
half of the parameters in fp32; here the prompts are always fp32.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.config import Count, Settings
from vlprompt.data.batch import Batch, images_of
from vlprompt.data.needs import Input, Needs
from vlprompt.prompts.context import PromptLayout
from vlprompt.prompts.cosine import CosineLearner
from vlprompt.prompts.deep import STD, by_layer, check_depth, split_words
from vlprompt.prompts.words import from_words
from vlprompt.randomness import seeded
from vlprompt.training.config import TrainConfig, Variant


@dataclass(frozen=True)
class MaPLeConfig(Settings):
    """The coupled prompts (configs/trainers/MaPLe/vit_b16_c2_ep5_batch4_2ctx.yaml)."""

    n_ctx: Count = 2  # learned tokens in each layer of each tower
    depth: Count = 9  # layers with learned tokens, the input included
    words: str = "a photo of a"  # the first n_ctx tokens are the start of P_0, the others stay; "" for noise


@final
class MaPLe(CosineLearner[MaPLeConfig]):
    """Deep prompts of the text tower, and a linear map for each that computes the image tower's."""

    Config = MaPLeConfig
    needs = Needs(input=Input.IMAGES)

    def __init__(self, clip: Clip, classes: Sequence[str], config: MaPLeConfig | None = None, *, seed: int = 0) -> None:
        super().__init__(clip, classes, config, seed=seed)
        n_ctx, depth = self.config.n_ctx, self.config.depth
        check_depth("depth", depth, "text", clip.text_layers)
        check_depth("depth", depth, "image", clip.vision_layers)
        learned, self.words = split_words(clip, self.config.words, n_ctx)
        with seeded(seed):
            start = STD * torch.randn(depth, n_ctx, clip.text_width)
            first, later = (nn.Linear(clip.text_width, clip.vision_width) for _ in range(2))
        if learned:
            start[0] = from_words(clip, learned)
        self.prompts = nn.Parameter(start.to(clip.device))  # (J, n, D)
        copies = [copy.deepcopy(later) for _ in range(depth - 1)]
        self.couplings = nn.ModuleList([first, *copies]).to(clip.device)
        self.rebuild()

    def rebuild(self) -> None:
        """Lay out the prompts of the current class names."""
        self.layout = PromptLayout(self.backbone, self.classes, self.config.n_ctx, fixed=self.words)

    def text(self) -> Tensor:
        """(1, C, E) text features."""
        deep = dict(enumerate(self.prompts[1:], start=1))
        return self.backbone.encode_text(self.layout.fill(self.prompts[:1], deep))

    def image_features(self, batch: Batch) -> Tensor:
        """(B, E) of the prompted image tower."""
        coupled = [coupling(prompt) for coupling, prompt in zip(self.couplings, self.prompts, strict=True)]
        return self.backbone.encode_image(images_of(batch), by_layer(coupled))

    def soft_tokens(self) -> Mapping[str, Tensor]:
        """The tokens at the text tower's input; those of later layers are not among words."""
        return {"prompts": self.prompts[0]}


RECIPE = TrainConfig(epochs=5, batch_size=4, lr=0.0035)  # the paper's (vit_b16_c2_ep5_batch4_2ctx.yaml)

# On ImageNet, for other data sets and domains (vit_b16_c2_ep5_batch4_2ctx_cross_datasets.yaml).
CROSS_DATASET_RECIPE = TrainConfig(epochs=2, batch_size=4, lr=0.0026)

VARIANTS = {
    "maple-paper": Variant(MaPLeConfig(), RECIPE, "Khattak et al. 2023a (arXiv:2210.03117): 2 tokens, 9 layers"),
    "maple-cross-dataset": Variant(
        MaPLeConfig(depth=3),
        CROSS_DATASET_RECIPE,
        "Khattak et al. 2023a, cross-dataset and domain generalisation: 2 tokens, 3 layers",
    ),
}
