"""CODA-Prompt: prompts put together from components by attention. Smith et al., CVPR 2023 (arXiv:2211.13218).

In each of some layers, with components P_m, keys K_m and attention A_m, and q the image's frozen features:

    w_m = cos(q * A_m, K_m);   p = sum_m w_m P_m;   k = [p's first half; W_k h],  v = [p's second half; W_v h]
    loss = cross-entropy over the task's classes + ortho * sum over layers and K, A, P of mean((M M^T - I)^2)

Every task adds components that are orthogonal to those of earlier tasks, which are frozen; all components take part in
every image, so the task need not be known. The paper has the penalty; the scripts of the authors' code
(GT-RIPL/CODA-Prompt, experiments/*.sh) pass a weight of 0.

Departures: components are created when their task begins, so the number of tasks need neither be known in advance nor
divide the pool (theirs shares 100 components among the tasks: 10 for each of 10, 20 for each of DomainNet's 5); the
head starts at zero (theirs with torch's own noise). Images are normalised as the model was trained (theirs are not).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones import Clip, Vit
from vlprompt.backbones.prompt_types import VisualPrompt
from vlprompt.config import Count, CountOrZero, NonNegative, Settings
from vlprompt.data.batch import Batch, features_of
from vlprompt.errors import UsageError
from vlprompt.prompts.head import zero_head
from vlprompt.prompts.pool import PromptPool, orthonormal
from vlprompt.training.config import TrainConfig, Variant


@dataclass(frozen=True)
class CODAPromptConfig(Settings):
    """The components; experiments/cifar-100.sh."""

    components: Count = 10  # that a task adds; 100 in all for 10 tasks
    length: Count = 8  # of a prompt: half of it keys, half values
    layers: tuple[CountOrZero, ...] = (0, 1, 2, 3, 4)  # (models/zoo.py)
    ortho: NonNegative = 0.0  # mu; the paper searches it, the scripts have 0
    class_mask: bool = True  # during training the softmax covers the task's own classes only (learners/prompt.py)

    def __post_init__(self) -> None:
        """Raise UsageError for values that cannot work."""
        super().__post_init__()
        if self.length % 2 or not self.layers:
            raise UsageError(
                f"CODAPromptConfig.length is {self.length}, layers {self.layers}; length must be even, and there must "
                "be a layer."
            )


@final
class CODAPrompt(PromptPool[CODAPromptConfig]):
    """Components of every task, in J layers, and a linear head.

    Attributes:
        keys: For each task (J, m, E).
        attention: For each task (J, m, E).
        prompts: For each task (J, m, L, D).
    """

    Config = CODAPromptConfig
    keys: nn.ParameterList

    def __init__(
        self, backbone: Vit | Clip, classes: Sequence[str], config: CODAPromptConfig | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(backbone, classes, config, seed=seed)
        self.check_layers(self.config.layers)
        self.keys, self.attention, self.prompts = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        self.head = zero_head(backbone.embed_dim, len(self.classes), masked=self.config.class_mask)
        self.next_prompts()
        self.to(backbone.device)

    def _parts(self) -> tuple[nn.ParameterList, nn.ParameterList, nn.ParameterList]:
        return self.keys, self.attention, self.prompts

    def next_prompts(self) -> None:
        """Freeze the components of earlier tasks, and add some that are orthogonal to them."""
        config, backbone = self.config, self.backbone
        shapes = ((backbone.embed_dim,), (backbone.embed_dim,), (config.length, backbone.vision_width))
        for number, (part, shape) in enumerate(zip(self._parts(), shapes, strict=True)):
            none = torch.zeros(len(config.layers), 0, torch.Size(shape).numel())
            past = torch.cat([none, *(each.detach().cpu().float().flatten(2) for each in part)], dim=1)  # (J, M, ...)
            part.requires_grad_(False)
            seeds = [((self.seed * 1009 + len(part)) * 3 + number) * 101 + layer for layer in config.layers]
            fresh = [orthonormal(of, config.components, seed=seed) for of, seed in zip(past, seeds, strict=True)]
            grown = torch.stack(fresh).reshape(len(config.layers), config.components, *shape)
            part.append(nn.Parameter(grown.to(backbone.device)))

    def weights(self, queries: Tensor) -> Tensor:
        """(B, E) queries -> (J, B, M), cos(q * A, K) without an array of size B times M times E."""
        keys, attention = F.normalize(all_of(self.keys), dim=-1), all_of(self.attention)  # (J, M, E)
        along = queries @ (attention * keys).mT
        length = (queries.square() @ attention.square().mT).clamp_min(1e-24).sqrt()
        return along / length

    def prompt(self, selection: Tensor) -> VisualPrompt:
        """Keys and values of all prompted layers for a batch of queries (B, E)."""
        prompts = torch.einsum("jbm,jmld->jbld", self.weights(selection), all_of(self.prompts))
        halves = zip(*prompts.chunk(2, dim=2), strict=True)
        return VisualPrompt(prefixes=dict(zip(self.config.layers, halves, strict=True)))

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self.scores(batch, features_of(batch))

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy, with the penalty where the settings have one."""
        loss = super().loss(batch)
        return loss + self.config.ortho * self.overlap().sum() if self.config.ortho else loss

    def overlap(self) -> Tensor:
        """(J,), how far from orthonormal the components of each layer are."""
        rows = [all_of(part).flatten(2) for part in self._parts()]  # (J, M, ...) each
        apart = [each @ each.mT - torch.eye(each.shape[1]).to(each) for each in rows]
        return torch.stack([each.square().mean(dim=(1, 2)) for each in apart]).sum(dim=0)

    def usage(self, queries: Tensor) -> Tensor:
        """(B, E) -> (B, M), the size of each component's weight, averaged over layers."""
        return self.weights(queries).abs().mean(dim=0)


def all_of(part: nn.ParameterList) -> Tensor:
    """The components of all tasks, (J, M, ...)."""
    return torch.cat(list(part), dim=1)


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """Adam at 1e-3, a quarter of a cosine; 20 epochs a task, ImageNet-R 50, DomainNet 5 (experiments/*.sh).

    As in the code, the cosine starts one epoch late: the first two epochs have the full rate (utils/schedulers.py).
    """
    return TrainConfig(
        epochs={"imagenet_r": 50, "domainnet": 5}.get(dataset, 20), batch_size=128, lr=1e-3, optimizer="adam",
        weight_decay=0.0, schedule="quarter-cosine", warmup="none",
    )  # fmt: skip


PAPER = "Smith et al. 2023 (arXiv:2211.13218)"
VARIANTS = {
    "coda-prompt": Variant(CODAPromptConfig(), recipe, f"{PAPER}, without the penalty, as in its scripts"),
    "coda-prompt-domainnet": Variant(
        CODAPromptConfig(components=20), recipe, f"{PAPER}, DomainNet in 5 tasks, without the penalty"
    ),
    "coda-prompt-ortho": Variant(CODAPromptConfig(ortho=0.1), recipe, f"{PAPER}, with the penalty"),
}
