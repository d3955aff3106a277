"""CODA-Prompt: prompts put together from components by attention. Smith et al., CVPR 2023 (arXiv:2211.13218).

In each of some layers, with components P_m, keys K_m and attention A_m, and q the image's frozen features:

    w_m = cos(q * A_m, K_m);   p = sum_m w_m P_m;   k = [p's first half; W_k h],  v = [p's second half; W_v h]
    loss = cross-entropy over the task's classes + ortho * sum over layers and K, A, P of mean((M M^T - I)^2)

Every task adds components at right angles to those before, which freeze; all take part in every image, and no task is
told. The paper has the penalty; the authors' scripts (GT-RIPL/CODA-Prompt, experiments/*.sh) have come to leave it out.

Departures: components are made when their task begins, so neither must the number of tasks be known in advance nor must
it divide the pool; the head starts at zero (theirs with torch's own noise). Images are normalised as the model was
trained (theirs are not).
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
from vlprompt.learners.base import PromptLearner, Reads, Variant, features_of, images_of
from vlprompt.pool import orthonormal
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class CODAPromptConfig:
    """The components; experiments/cifar-100.sh."""

    components: int = 10  # that a task adds; 100 in all for 10 tasks
    length: int = 8  # of a prompt: half of it keys, half values
    layers: tuple[int, ...] = (0, 1, 2, 3, 4)  # (models/zoo.py)
    ortho: float = 0.0  # mu; the paper searches it, the scripts have 0
    class_mask: bool = True  # while a task is learned, its own classes are compared only (learners/prompt.py)

    def __post_init__(self) -> None:
        """Raise UsageError for numbers that cannot work."""
        object.__setattr__(self, "layers", tuple(self.layers))
        if self.components < 1 or self.length < 2 or self.length % 2 or not self.layers or not self.ortho >= 0:
            raise UsageError(
                f"coda_prompt: components {self.components} must be 1 or more, length {self.length} even, ortho "
                f"{self.ortho} 0 or more, and there must be a layer."
            )


@final
class CODAPrompt(PromptLearner[Vit | Clip]):
    """Components of every task, in J layers, and a linear head.

    Attributes:
        keys: For each task (J, m, E).
        attention: For each task (J, m, E).
        prompts: For each task (J, m, L, D).
    """

    reads = Reads.IMAGES
    features_too = True
    takes = (Vit, Clip)

    def __init__(
        self,
        backbone: Vit | Clip,
        classes: Sequence[str],
        config: CODAPromptConfig = CODAPromptConfig(),
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(backbone, classes, config, seed=seed)
        if max(config.layers) >= backbone.vision_layers:
            raise UsageError(
                f"coda_prompt: prompts for layer {max(config.layers)}, the image tower has {backbone.vision_layers}."
            )
        self.keys, self.attention, self.prompts = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        self.head = zero_head(backbone.embed_dim, len(self.classes), masked=config.class_mask)
        self._add_components()
        self.to(backbone.device)

    def _parts(self) -> dict[str, tuple[nn.ParameterList, tuple[int, ...]]]:
        """K, A and P with the shape of one component."""
        width, features = self.backbone.vision_width, self.backbone.embed_dim
        shapes = {"keys": (features,), "attention": (features,), "prompts": (self.config.length, width)}
        return {name: (getattr(self, name), shape) for name, shape in shapes.items()}

    def _add_components(self) -> None:
        """Freeze the components there are, and add some at right angles to them."""
        config = self.config
        for number, (part, shape) in enumerate(self._parts().values()):
            wide = torch.Size(shape).numel()
            none = torch.zeros(len(config.layers), 0, wide)
            past = torch.cat([none, *(each.detach().cpu().float().flatten(2) for each in part)], dim=1)  # (J, M, wide)
            part.requires_grad_(False)
            seeds = [((self.seed * 1009 + len(part)) * 3 + number) * 101 + layer for layer in config.layers]
            fresh = [orthonormal(of, config.components, seed=seed) for of, seed in zip(past, seeds, strict=True)]
            grown = torch.stack(fresh).reshape(len(config.layers), config.components, *shape)
            part.append(nn.Parameter(grown.to(self.backbone.device)))

    @property
    def keeps_classes(self) -> str:
        """There is a weight vector for each class it saw."""
        return KEEPS_CLASSES

    def begin_task(self, task: Task) -> None:
        """Go on to a task: its classes join the head, and it gets components; those before are frozen."""
        super().begin_task(task)
        self._add_components()

    def found(self) -> dict[str, Tensor]:
        """The components of earlier tasks."""
        return {
            f"{name}.{i}": each
            for name, (part, _) in self._parts().items()
            for i, each in enumerate(part)
            if not each.requires_grad
        }

    def make_room(self, tensors: Mapping[str, Tensor]) -> None:
        """Make components of as many tasks as a checkpoint holds."""
        while f"keys.{len(self.keys)}" in tensors:
            self._add_components()

    def weights(self, queries: Tensor) -> Tensor:
        """(B, E) queries -> (J, B, M), cos(q * A, K) without an array of size B times M times E."""
        keys, attention = (F.normalize(self._all("keys"), dim=-1), self._all("attention"))  # (J, M, E)
        along = queries @ (attention * keys).mT
        length = (queries.square() @ attention.square().mT).clamp_min(1e-24).sqrt()
        return along / length

    def prompt(self, queries: Tensor) -> VisualPrompt:
        """Keys and values of all prompted layers for a batch of queries (B, E)."""
        prompts = torch.einsum("jbm,jmld->jbld", self.weights(queries), self._all("prompts"))
        halves = zip(*prompts.chunk(2, dim=2), strict=True)
        return VisualPrompt(prefixes=dict(zip(self.config.layers, halves, strict=True)))

    def _all(self, name: str) -> Tensor:
        """A part's components of all tasks, (J, M, ...)."""
        return torch.cat(list(getattr(self, name)), dim=1)

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        prompt = self.prompt(features_of(batch))
        return self.head(self.backbone.encode_image(images_of(batch), prompt))  # type: ignore[no-any-return]

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy, and the penalty where there is one."""
        loss = super().loss(batch)
        return loss + self.config.ortho * self.overlap().sum() if self.config.ortho else loss

    def overlap(self) -> Tensor:
        """(J,), how far from orthonormal the components of each layer are."""
        rows = [self._all(name).flatten(2) for name in self._parts()]  # (J, M, wide) each
        apart = [each @ each.mT - torch.eye(each.shape[1]).to(each) for each in rows]
        return torch.stack([each.square().mean(dim=(1, 2)) for each in apart]).sum(dim=0)

    def usage(self, queries: Tensor) -> Tensor:
        """(B, E) -> (B, M), the size of each component's weight, averaged over layers."""
        return self.weights(queries).abs().mean(dim=0)


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """Adam at 1e-3, a quarter of a cosine, 20 epochs a task, on ImageNet-R 50 (experiments/*.sh)."""
    return TrainConfig(
        epochs=50 if dataset == "imagenet_r" else 20,
        batch_size=128,
        lr=1e-3,
        optimizer="adam",
        weight_decay=0.0,
        schedule="quarter-cosine",
        warmup="none",
    )


PAPER = "Smith et al. 2023 (arXiv:2211.13218)"
VARIANTS = {
    "coda-prompt": Variant(CODAPromptConfig(), recipe, f"{PAPER}, as its scripts are"),
    "coda-prompt-ortho": Variant(CODAPromptConfig(ortho=0.1), recipe, f"{PAPER}, with the penalty"),
}
