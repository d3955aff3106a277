"""DualPrompt: general prompts for all tasks, an expert for each. Wang et al., ECCV 2022 (arXiv:2204.04799).

Prompts are keys and values that join a layer's own: k = [K_p; W_k h], v = [V_p; W_v h]. General ones stand in the first
layers and are learned on and on. Task t adds an expert, its prompts of some later layers, and a key; those before
freeze. While a task is learned its expert is taken; in a test each image takes the expert whose key is nearest to its
frozen features q (no task is told):

    loss = cross-entropy over the task's classes - pull * mean_b cos(q_b, K_t)

Code: google-research/l2p (the authors', JAX), JH-LEE-KR/dualprompt-pytorch. The port, and most code that descends from
it, reshapes (2, B, ...) to (B, 2, ...) where the axes should change places: an image gets other images' prompts, and
keys in the place of values, so an answer depends on its batch. `reference_quirks` does that; the authors' own code does
not. In GT-RIPL/CODA-Prompt's version every layer has keys of its own (`layer_keys`).

Departures: each image chooses for itself (the codes let the batch vote on CIFAR-100, not on ImageNet-R); experts are
made when their task begins, so no image takes one that was never trained. Clipping and images as in `l2p`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones import Clip, Vit
from vlprompt.backbones.prompts import VisualPrompt
from vlprompt.data.batch import Batch
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.head import KEEPS_CLASSES, zero_head
from vlprompt.init import seeded
from vlprompt.learners.base import PromptLearner, Reads, Variant, features_of, images_of
from vlprompt.pool import cosine
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class DualPromptConfig:
    """Where prompts stand and how long they are; google-research/l2p, configs/cifar100_dualprompt.py."""

    general_layers: tuple[int, ...] = (0, 1)  # (paper, section 5.4)
    expert_layers: tuple[int, ...] = (2, 3, 4)
    general_length: int = 5  # keys, and as many values
    expert_length: int = 5  # on ImageNet-R 20 (configs/imr_dualprompt.py)
    pull: float = 1.0  # lambda, how strongly a task's key is drawn to its queries
    share: bool = True  # an expert starts as the one before it (shared_prompt_pool)
    start: tuple[float, ...] = (0.0, 0.01)  # range of keys and prompts at the start (flax's uniform; the port: -1, 1)
    layer_keys: bool = False  # each expert layer has keys of its own and chooses for itself (GT-RIPL/CODA-Prompt)
    class_mask: bool = True  # while a task is learned, its own classes are compared only (train_mask)
    reference_quirks: bool = False  # the port's reshape, see above

    def __post_init__(self) -> None:
        """Raise UsageError for numbers that cannot work."""
        for name in ("general_layers", "expert_layers", "start"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.expert_layers or set(self.general_layers) & set(self.expert_layers):
            raise UsageError(
                f"dual_prompt: general_layers {self.general_layers} and expert_layers {self.expert_layers}: give one "
                "expert layer or more, and no layer both kinds."
            )
        if min(self.general_length, self.expert_length) < 1 or not self.pull >= 0:
            raise UsageError("dual_prompt: general_length and expert_length must be 1 or more, pull 0 or more.")
        if len(self.start) != 2 or not self.start[0] < self.start[1]:
            raise UsageError(f"dual_prompt: start {self.start} must be two numbers, the smaller first.")


@final
class DualPrompt(PromptLearner[Vit | Clip]):
    """General prompts, experts with their keys, and a linear head.

    Attributes:
        general: (J_g, 2, L_g, D), keys and values of each general layer.
        experts: For each task (J_e, 2, L_e, D).
        keys: For each task (Q, E); Q is 1, or J_e with keys of every layer.
    """

    reads = Reads.IMAGES
    features_too = True
    takes = (Vit, Clip)

    def __init__(
        self,
        backbone: Vit | Clip,
        classes: Sequence[str],
        config: DualPromptConfig = DualPromptConfig(),
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(backbone, classes, config, seed=seed)
        if (last := max(*config.general_layers, *config.expert_layers)) >= backbone.vision_layers:
            raise UsageError(f"dual_prompt: a prompt for layer {last}, the image tower has {backbone.vision_layers}.")
        shape = (len(config.general_layers), 2, config.general_length, backbone.vision_width)
        with seeded(seed):
            self.general = nn.Parameter(torch.empty(shape).uniform_(*config.start))
        self.experts, self.keys = nn.ParameterList(), nn.ParameterList()
        self.head = zero_head(backbone.embed_dim, len(self.classes), masked=config.class_mask)
        self._add_expert()
        self.to(backbone.device)

    def _add_expert(self) -> None:
        """Freeze the experts there are, and add one."""
        config, backbone = self.config, self.backbone
        for each in (*self.experts, *self.keys):
            each.requires_grad_(False)
        shape = (len(config.expert_layers), 2, config.expert_length, backbone.vision_width)
        with seeded(self.seed + 1 + len(self.experts)):
            expert = torch.empty(shape).uniform_(*config.start)
            key = torch.empty(len(config.expert_layers) if config.layer_keys else 1, backbone.embed_dim)
            key.uniform_(*config.start)
        if config.share and len(self.experts):
            expert = self.experts[-1].detach().clone()
        self.experts.append(nn.Parameter(expert.to(backbone.device)))
        self.keys.append(nn.Parameter(key.to(backbone.device)))

    @property
    def keeps_classes(self) -> str:
        """There is a weight vector for each class it saw."""
        return KEEPS_CLASSES

    def begin_task(self, task: Task) -> None:
        """Go on to a task: its classes join the head, and it gets an expert; those before are frozen."""
        super().begin_task(task)
        self._add_expert()

    def found(self) -> dict[str, Tensor]:
        """The experts of earlier tasks and their keys."""
        lists = {"experts": self.experts, "keys": self.keys}
        every = ((f"{name}.{i}", each) for name, some in lists.items() for i, each in enumerate(some))
        return {name: each for name, each in every if not each.requires_grad}

    def make_room(self, tensors: Mapping[str, Tensor]) -> None:
        """Make as many experts as a checkpoint holds."""
        while f"experts.{len(self.experts)}" in tensors:
            self._add_expert()

    def choose(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """(B, E) queries -> ids (Q, B) of experts, and the similarity (Q, B, T) to all keys."""
        similarity = cosine(queries, torch.stack(list(self.keys), dim=1))
        if self.training:
            return torch.full_like(similarity[..., 0], len(self.keys) - 1, dtype=torch.int64), similarity
        return similarity.argmax(dim=-1), similarity

    def prompt(self, ids: Tensor) -> VisualPrompt:
        """Keys and values of all prompted layers for a batch, given (Q, B) ids of experts."""
        general = dict(zip(self.config.general_layers, ((keys, values) for keys, values in self.general), strict=True))
        experts = torch.stack(list(self.experts))  # (T, J, 2, L, D)
        each_layer = zip(self.config.expert_layers, ids.expand(len(self.config.expert_layers), -1), strict=True)
        chosen = {layer: self._pair(experts[which, j]) for j, (layer, which) in enumerate(each_layer)}
        return VisualPrompt(prefixes=general | chosen)

    def _pair(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 2, L, D) -> keys and values, each (B, L, D)."""
        if self.config.reference_quirks:
            chosen = chosen.transpose(0, 1).reshape(chosen.shape)
        return chosen[:, 0], chosen[:, 1]

    def scores(self, batch: Batch, ids: Tensor) -> Tensor:
        """Class scores (B, C) with experts (Q, B)."""
        return self.head(self.backbone.encode_image(images_of(batch), self.prompt(ids)))  # type: ignore[no-any-return]

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self.scores(batch, self.choose(features_of(batch))[0])

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy, less what draws the chosen keys to the queries."""
        ids, similarity = self.choose(features_of(batch))
        drawn = similarity.gather(2, ids[..., None]).sum() / len(batch)
        loss: Tensor = F.cross_entropy(self.scores(batch, ids), batch.labels) - self.config.pull * drawn
        return loss

    def usage(self, queries: Tensor) -> Tensor:
        """(B, E) -> (B, T), 1 for the expert of an image, or its share of the layers."""
        ids, similarity = self.choose(queries)
        return F.one_hot(ids, similarity.shape[-1]).to(similarity).mean(dim=0)


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """Adam at 0.03 * batch / 256, 5 epochs a task, norm clipped at 1 (cifar100_dualprompt.py: 24 images a device).

    On ImageNet-R 0.005 and 50 epochs (imr_dualprompt.py).
    """
    lr, epochs = (0.005, 50) if dataset == "imagenet_r" else (0.03, 5)
    return TrainConfig(
        epochs=epochs,
        batch_size=24,
        lr=lr * 24 / 256,
        optimizer="adam",
        weight_decay=0.0,
        schedule="constant",
        warmup="none",
        clip_norm=1.0,
    )


PAPER = "Wang et al. 2022 (arXiv:2204.04799)"
VARIANTS = {
    "dualprompt-cifar100": Variant(DualPromptConfig(), recipe, f"{PAPER}, Split CIFAR-100, each image for itself"),
    "dualprompt-imagenet-r": Variant(DualPromptConfig(expert_length=20), recipe, f"{PAPER}, Split ImageNet-R"),
    "dualprompt-port": Variant(
        DualPromptConfig(start=(-1.0, 1.0), reference_quirks=True), recipe, "JH-LEE-KR/dualprompt-pytorch, CIFAR-100"
    ),
}
