"""DualPrompt: general prompts for all tasks, an expert for each. Wang et al., ECCV 2022 (arXiv:2204.04799).

Prompts are keys and values that join a layer's own: k = [K_p; W_k h], v = [V_p; W_v h]. General prompts enter the first
layers and are trained in every task. Task t adds an expert, its prompts of some later layers, and a key; earlier ones
are frozen. Training uses the task's own expert; in a test each image uses the expert with the key nearest to its frozen
features q, so the task need not be known:

    loss = cross-entropy over the task's classes - pull * mean_b cos(q_b, K_t)

Code: google-research/l2p (the authors', JAX), JH-LEE-KR/dualprompt-pytorch. The port, and most code that descends from
it, reshapes (2, B, ...) to (B, 2, ...) instead of swapping the axes: an image gets other images' prompts, and keys in
place of values, so an answer depends on its batch. `reference_quirks` does that; the authors' own code does not. In
GT-RIPL/CODA-Prompt's version every layer has keys of its own (`layer_keys`). With `top` N a task adds N experts and an
image uses N, whose keys and values are put in a row (the port's top_k).

Departures: each image selects its own expert (in the codes the batch votes on CIFAR-100, not on ImageNet-R); an expert
is created when its task begins, so no image uses one that was never trained. Clipping and images as in `l2p`.
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
from vlprompt.prompts.pool import Interval, PromptPool, by_adam, cosine, rows
from vlprompt.randomness import seeded
from vlprompt.training.config import TrainConfig, Variant


@dataclass(frozen=True)
class DualPromptConfig(Settings):
    """The places and lengths of prompts; google-research/l2p, configs/cifar100_dualprompt.py."""

    general_layers: tuple[CountOrZero, ...] = (0, 1)  # (paper, section 5.4)
    expert_layers: tuple[CountOrZero, ...] = (2, 3, 4)
    general_length: Count = 5  # keys, and as many values
    expert_length: Count = 5  # on ImageNet-R 20 (configs/imr_dualprompt.py)
    top: Count = 1  # N, experts that a task adds and an image uses (top_k)
    pull: NonNegative = 1.0  # lambda, how strongly a task's key is pulled towards its queries
    share: bool = True  # an expert starts as the one before it (shared_prompt_pool)
    start: Interval = (0.0, 0.01)  # initial range of keys and prompts (flax's uniform; the port: -1, 1)
    layer_keys: bool = False  # each expert layer has its own keys and selects separately (GT-RIPL/CODA-Prompt)
    class_mask: bool = True  # during training the softmax covers the task's own classes only (train_mask)
    reference_quirks: bool = False  # the port's reshape, see above

    def __post_init__(self) -> None:
        """Raise UsageError for values that cannot work."""
        super().__post_init__()
        if not self.expert_layers or set(self.general_layers) & set(self.expert_layers):
            raise UsageError(
                f"DualPromptConfig.general_layers is {self.general_layers}, expert_layers {self.expert_layers}; give "
                "one expert layer or more, and no layer both kinds."
            )


@final
class DualPrompt(PromptPool[DualPromptConfig]):
    """General prompts, experts with their keys, and a linear head.

    Attributes:
        general: (J_g, 2, L_g, D), keys and values of each general layer.
        experts: N for each task, each (J_e, 2, L_e, D).
        keys: One for each expert, (Q, E); Q is 1, or J_e with keys of every layer.
    """

    Config = DualPromptConfig
    keys: nn.ParameterList

    def __init__(
        self, backbone: Vit | Clip, classes: Sequence[str], config: DualPromptConfig | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(backbone, classes, config, seed=seed)
        config = self.config
        self.check_layers([*config.general_layers, *config.expert_layers])
        shape = (len(config.general_layers), 2, config.general_length, backbone.vision_width)
        with seeded(seed):
            self.general = nn.Parameter(torch.empty(shape).uniform_(*config.start))
        self.experts, self.keys = nn.ParameterList(), nn.ParameterList()
        self.head = zero_head(backbone.embed_dim, len(self.classes), masked=config.class_mask)
        self.next_prompts()
        self.to(backbone.device)

    def next_prompts(self) -> None:
        """Freeze the experts of earlier tasks and their keys, and add N of each."""
        config, backbone = self.config, self.backbone
        self.experts.requires_grad_(False)
        self.keys.requires_grad_(False)
        layers, before = len(config.expert_layers), len(self.experts)
        for number in range(before, before + config.top):
            with seeded(self.seed + 1 + number):
                expert = torch.empty(layers, 2, config.expert_length, backbone.vision_width).uniform_(*config.start)
                key = torch.empty(layers if config.layer_keys else 1, backbone.embed_dim).uniform_(*config.start)
            if config.share and before:
                expert = self.experts[number - config.top].detach().clone()
            self.experts.append(nn.Parameter(expert.to(backbone.device)))
            self.keys.append(nn.Parameter(key.to(backbone.device)))

    def choose(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """(B, E) queries -> the ids (Q, B, N) of their experts, and the similarities (Q, B, T) to all T keys."""
        similarity, top = cosine(queries, torch.stack(list(self.keys), dim=1)), self.config.top
        if self.training:
            own = torch.arange(len(self.keys) - top, len(self.keys), device=similarity.device)
            return own.expand(*similarity.shape[:2], top), similarity
        return similarity.topk(top, dim=-1).indices, similarity

    def prompt(self, selection: Tensor) -> VisualPrompt:
        """Keys and values of all prompted layers for a batch, by the (Q, B, N) ids of experts."""
        general = dict(zip(self.config.general_layers, ((keys, values) for keys, values in self.general), strict=True))
        experts, layers = torch.stack(list(self.experts)), self.config.expert_layers  # (T, J, 2, L, D)
        each_layer = zip(layers, selection.expand(len(layers), -1, -1), strict=True)
        chosen = {layer: self._pair(rows(experts[:, j], ids)) for j, (layer, ids) in enumerate(each_layer)}
        return VisualPrompt(prefixes=general | chosen)

    def _pair(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, 2, L, D) -> keys and values, each (B, N L, D)."""
        pairs = chosen.transpose(1, 2).flatten(2, 3)  # (B, 2, N L, D)
        if self.config.reference_quirks:
            pairs = pairs.transpose(0, 1).reshape(pairs.shape)
        return pairs[:, 0], pairs[:, 1]

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self.scores(batch, self.choose(features_of(batch))[0])

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy minus the pull of the selected keys."""
        ids, similarity = self.choose(features_of(batch))
        pulled = similarity.gather(2, ids).sum() / len(batch)
        return F.cross_entropy(self.scores(batch, ids), batch.labels) - self.config.pull * pulled

    def usage(self, queries: Tensor) -> Tensor:
        """(B, E) -> (B, T), the share of each expert among those of an image, over all layers."""
        ids, similarity = self.choose(queries)
        return F.one_hot(ids, similarity.shape[-1]).to(similarity).mean(dim=(0, 2))


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """At 0.03, 5 epochs a task (cifar100_dualprompt.py); on ImageNet-R at 0.005, 50 (imr_dualprompt.py).

    Batches of 24 are theirs on one device, with the rate of one device.
    """
    return by_adam(0.005, 24, epochs=50) if dataset == "imagenet_r" else by_adam(0.03, 24)


def recipe_of_8_devices(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """The same on the 8 devices of the authors: batches of 192, at 8 times the rate."""
    return by_adam(0.005, 192, epochs=50) if dataset == "imagenet_r" else by_adam(0.03, 192)


PAPER = "Wang et al. 2022 (arXiv:2204.04799)"
PORT = DualPromptConfig(start=(-1.0, 1.0), reference_quirks=True)
VARIANTS = {
    "dualprompt-cifar100": Variant(DualPromptConfig(), recipe, f"{PAPER}, Split CIFAR-100, experts selected per image"),
    "dualprompt-imagenet-r": Variant(DualPromptConfig(expert_length=20), recipe, f"{PAPER}, Split ImageNet-R"),
    "dualprompt-cifar100-8-devices": Variant(
        DualPromptConfig(), recipe_of_8_devices, f"{PAPER}, Split CIFAR-100, batches of 192, experts selected per image"
    ),
    "dualprompt-imagenet-r-8-devices": Variant(
        DualPromptConfig(expert_length=20), recipe_of_8_devices, f"{PAPER}, Split ImageNet-R, batches of 192"
    ),
    "dualprompt-port": Variant(PORT, recipe, "JH-LEE-KR/dualprompt-pytorch, CIFAR-100"),
}
