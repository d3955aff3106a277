"""CLIP-LoRA: low-rank changes of attention in both towers. Zanella and Ben Ayed, CVPRW 2024 (arXiv:2405.18541).

    W_q, W_k, W_v become W + s B A in every layer, A and B of rank r;  s = alpha / sqrt(r)

s is the authors' code's (MaxZanella/CLIP-LoRA, loralib/layers.py); LoRA's paper has alpha / r. As there, dropout
applies to the input of A, separately for q, k and v. The words that start all texts are encoded once, so that their
dropout is the same for all classes of a step. The published runs are in fp16, and use an incomplete last batch; here it
is fp32 or bf16, and such a batch is dropped. The code's template is "a photo of a {}." for all data sets, which is the
variant `clip-lora-code`. The frozen model never changes: the learner changes a copy of its modules around its weights.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.adapters import AdaptedAttention, copy_sharing_weights, open_clip_blocks
from vlprompt.backbones.clip import Clip
from vlprompt.config import Count, Dropout, Positive, Settings
from vlprompt.data.batch import Batch, images_of
from vlprompt.data.needs import Input, Needs
from vlprompt.data.templates import DEFAULT_TEMPLATE, OptionalTemplate, Template
from vlprompt.prompts.cosine import CosineLearner
from vlprompt.randomness import seeded
from vlprompt.training.config import TrainConfig, Variant

Towers = Literal["both", "text", "vision"]


@dataclass(frozen=True)
class CLIPLoRAConfig(Settings):
    """The low-rank changes and where they are; defaults of the paper, section 4, and run_utils.py."""

    rank: Count = 2
    alpha: Positive = 1.0
    dropout: Dropout = 0.25
    towers: Towers = "both"
    template: OptionalTemplate = ""  # none: the task's first, or "a photo of a {}."


class LowRankAttention(nn.Module):
    """The low-rank change of one attention layer's queries, keys and values."""

    def __init__(self, width: int, config: CLIPLoRAConfig) -> None:
        super().__init__()
        self.scale = config.alpha / math.sqrt(config.rank)
        self.dropout = config.dropout
        self.down = nn.Parameter(torch.empty(3, config.rank, width))  # A of q, k and v
        self.up = nn.Parameter(torch.zeros(3, width, config.rank))  # B
        for matrix in self.down:
            nn.init.kaiming_uniform_(matrix, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., 3D)."""
        pairs = zip(self.down.to(x.dtype), self.up.to(x.dtype), strict=True)
        parts = [F.dropout(x, self.dropout, self.training) @ down.T @ up.T for down, up in pairs]
        return self.scale * torch.cat(parts, dim=-1)


@final
class CLIPLoRA(CosineLearner[CLIPLoRAConfig]):
    """Attention of both towers, changed by a few numbers per layer."""

    Config = CLIPLoRAConfig
    needs = Needs(input=Input.IMAGES)
    from_task = ("template",)

    def __init__(
        self, clip: Clip, classes: Sequence[str], config: CLIPLoRAConfig | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(clip, classes, config, seed=seed)
        self.template = Template(self.config.template or DEFAULT_TEMPLATE)
        self.adapted = copy_sharing_weights(clip)
        towers = {"text": self.adapted.tower, "vision": self.adapted.model.visual}
        self.layers = nn.ModuleList()
        with seeded(seed):
            for name in towers if self.config.towers == "both" else [self.config.towers]:
                for block in open_clip_blocks(towers[name], name):
                    layer = LowRankAttention(block.attn.embed_dim, self.config).to(clip.device)
                    # A bound method, so that the layer does not become a submodule of the frozen copy.
                    block.attn = AdaptedAttention(block.attn, layer.__call__)
                    self.layers.append(layer)
        self.rebuild()

    def rebuild(self) -> None:
        """Tokenise the current class names."""
        self.ids = self.backbone.tokenizer([self.template(name) for name in self.classes])

    def text(self) -> Tensor:
        """(1, C, E) text features."""
        return self.adapted.encode_text(self.adapted.prompt_of(self.ids))

    def image_features(self, batch: Batch) -> Tensor:
        """(B, E) of the adapted image tower."""
        return self.adapted.encode_image(images_of(batch))


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """The paper's training for all data sets: 500 steps per shot (section 4.1; lora.py, run_utils.py)."""
    return TrainConfig(
        epochs=500 * 32,  # no limit in practice: a single class would need this many
        steps=500 * shots,
        batch_size=32,
        lr=2e-4,
        optimizer="adamw",
        weight_decay=0.01,
        per_step=True,
        lr_end=1e-6,
        warmup="none",
    )


PAPER = "Zanella and Ben Ayed 2024 (arXiv:2405.18541)"
VARIANTS = {
    "clip-lora-paper": Variant(CLIPLoRAConfig(), recipe, PAPER),
    "clip-lora-code": Variant(
        CLIPLoRAConfig(template=DEFAULT_TEMPLATE), recipe, f"{PAPER}, its code: one template for all data sets"
    ),
}
