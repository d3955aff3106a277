"""CLIP-LoRA: low-rank changes of attention in both towers. Zanella and Ben Ayed, CVPRW 2024 (arXiv:2405.18541).

    W_q, W_k, W_v become W + s B A in every layer, A and B of rank r;  s = alpha / sqrt(r)

s is the authors' code's (MaxZanella/CLIP-LoRA, loralib/layers.py); LoRA's paper has alpha / r. As there, dropout falls
on what A reads, apart for q, k and v. Words that all texts open with are encoded once, so that their dropout is the
same for all classes of a step. The published runs are in fp16; here it is fp32 or bf16. The frozen model is never
written to: the learner changes a copy of its modules around the same weights.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self, final, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.adapted import AdaptedAttention, blocks_of, twin
from vlprompt.backbones.clip import Clip
from vlprompt.data.batch import Batch
from vlprompt.data.task import Task
from vlprompt.errors import UsageError, unknown
from vlprompt.init import seeded
from vlprompt.learners.base import PromptLearner, Reads, Variant
from vlprompt.recipe import TrainConfig
from vlprompt.templates import Template

Towers = Literal["both", "text", "vision"]


@dataclass(frozen=True)
class CLIPLoRAConfig:
    """The low-rank changes and where they go; defaults of the paper, section 4, and run_utils.py."""

    rank: int = 2
    alpha: float = 1.0
    dropout: float = 0.25
    towers: Towers = "both"  # both, text or vision
    template: str = ""  # none: the task's first, or "a photo of a {}."

    def __post_init__(self) -> None:
        """Raise UsageError for values that cannot work, or a template without a place."""
        if self.towers not in get_args(Towers):
            raise unknown("towers", str(self.towers), get_args(Towers))
        if self.rank < 1 or not self.alpha > 0 or not 0 <= self.dropout < 1:
            raise UsageError("clip_lora: rank must be 1 or more, alpha above 0, dropout from 0 to below 1.")
        if self.template:
            Template(self.template)


class LowRank(nn.Module):
    """What one attention layer adds to its queries, keys and values."""

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
class CLIPLoRA(PromptLearner[Clip]):
    """Attention of both towers, changed by a few numbers per layer."""

    reads = Reads.IMAGES

    def __init__(
        self, clip: Clip, classes: Sequence[str], config: CLIPLoRAConfig = CLIPLoRAConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(clip, classes, config, seed=seed)
        self.template = Template(config.template or "a photo of a {}.")
        self.adapted = twin(clip)
        towers = {"text": self.adapted.tower, "vision": self.adapted.model.visual}
        self.layers = nn.ModuleList()
        with seeded(seed):
            for name in towers if config.towers == "both" else [config.towers]:
                for block in blocks_of(towers[name], name):
                    layer = LowRank(block.attn.embed_dim, config).to(clip.device)
                    block.attn = AdaptedAttention(block.attn, layer.__call__)  # a method: not a part of the frozen copy
                    self.layers.append(layer)
        self.rebuild()

    @classmethod
    def for_task(cls, backbone: Clip, task: Task, config: CLIPLoRAConfig, *, seed: int = 0) -> Self:
        """Use the task's template where the configuration names none."""
        return cls(backbone, task.classes, replace(config, template=config.template or task.templates[0]), seed=seed)

    def rebuild(self) -> None:
        """Tokenise the current class names."""
        self.ids = self.backbone.tokenizer([self.template(name) for name in self.classes])

    @property
    def keeps_classes(self) -> str:
        """Any names will do."""
        return ""

    def text(self) -> Tensor:
        """(1, C, E) text features."""
        return self.adapted.encode_text(self.adapted.prompt_of(self.ids))

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        if batch.images is None:
            raise UsageError("clip_lora reads images, the batch holds none; make batches with vlprompt.feed.")
        return self.adapted.scores(self.adapted.encode_image(batch.images), self.once("text", self.text))


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """The paper's training for all data sets: 500 steps per shot (section 4.1; lora.py, run_utils.py)."""
    return TrainConfig(
        epochs=500 * 32,  # as many as it takes: that is what a single class would need
        steps=500 * shots,
        batch_size=32,
        lr=2e-4,
        optimizer="adamw",
        weight_decay=0.01,
        per_step=True,
        lr_end=1e-6,
        warmup="none",
    )


VARIANTS = {"clip-lora-paper": Variant(CLIPLoRAConfig(), recipe, "Zanella and Ben Ayed 2024 (arXiv:2405.18541)")}
