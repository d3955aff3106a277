"""Pools of prompts, from which the frozen model's features of an image, its query, select."""

import abc
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones import Clip, Vit
from vlprompt.backbones.prompt_types import VisualPrompt
from vlprompt.data.batch import Batch, images_of
from vlprompt.data.needs import Input, Needs
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.learner import C
from vlprompt.prompts.head import GrowingHead
from vlprompt.randomness import normal
from vlprompt.training.config import TrainConfig


@dataclass(frozen=True)
class Ascending:
    """A condition on settings (`vlprompt.config`): two numbers, the smaller first.

    Attributes:
        text: What is allowed, for errors.
    """

    text: str = "two in all, the smaller first"

    def allows(self, value: Sequence[float]) -> bool:
        """Whether numbers fulfil it."""
        return len(value) == 2 and value[0] < value[1]


Interval = Annotated[tuple[float, ...], Ascending()]


@runtime_checkable
class Pooled(Protocol):
    """A learner whose prompts come from a pool."""

    def usage(self, queries: Tensor) -> Tensor:
        """(B, E) features of the frozen model -> (B, M), the share of each prompt of the pool in an image's prompt."""


class PromptPool(GrowingHead[Vit | Clip, C], abc.ABC):
    """A pool of prompts for the image tower, with keys, and a linear head."""

    needs = Needs(input=Input.IMAGES, features_too=True)
    backbones = (Vit, Clip)
    keys: nn.Parameter | nn.ParameterList

    @abc.abstractmethod
    def prompt(self, selection: Tensor) -> VisualPrompt:
        """The prompts of a batch, for ids or queries that select them."""

    @abc.abstractmethod
    def next_prompts(self) -> None:
        """Prepare the pool for the next task."""

    def begin_task(self, task: Task) -> None:
        """Go on to a task: its classes join the head, and it gets prompts as the method provides."""
        super().begin_task(task)
        self.next_prompts()

    def resize_for(self, tensors: Mapping[str, Tensor]) -> None:
        """Add the prompts of as many tasks as the tensors hold, where each task has keys of its own."""
        while f"keys.{len(self.keys)}" in tensors:
            self.next_prompts()

    def scores(self, batch: Batch, selection: Tensor) -> Tensor:
        """Class scores (B, C) with the selected prompts."""
        prompt = self.prompt(selection)
        return self.head(self.backbone.encode_image(images_of(batch), prompt))  # type: ignore[no-any-return]

    def check_layers(self, layers: Iterable[int]) -> None:
        """Raise UsageError where the image tower lacks a layer that gets prompts."""
        last, count = max(layers), self.backbone.vision_layers
        if last >= count:
            raise UsageError(f"{self.method()}: a prompt for layer {last}, the image tower has {count}.")


def by_adam(lr: float, batch_size: int, epochs: int = 5) -> TrainConfig:
    """Adam at a constant rate, given for 256 images, with the gradient's norm clipped at 1 (google-research/l2p).

    A random crop keeps 5 % of an image or more (libml/input_pipeline.py).
    """
    return TrainConfig(
        epochs=epochs, batch_size=batch_size, lr=lr * batch_size / 256, optimizer="adam", weight_decay=0.0,
        schedule="constant", warmup="none", clip_norm=1.0, crop=0.05,
    )  # fmt: skip


def cosine(queries: Tensor, keys: Tensor) -> Tensor:
    """(B, E) and (..., M, E) -> cosine similarities (..., B, M)."""
    return F.normalize(queries, dim=-1) @ F.normalize(keys, dim=-1).mT


def rows(pool: Tensor, ids: Tensor) -> Tensor:
    """(M, ...) prompts and (...) ids -> `pool[ids]`, with gradients that do not depend on the order of threads."""
    return F.embedding(ids, pool.flatten(1)).reshape(*ids.shape, *pool.shape[1:])


def orthonormal(past: Tensor, count: int, *, seed: int) -> Tensor:
    """(M, E) vectors -> (count, E) random unit vectors, orthogonal to one another and to the given ones.

    Where E is too small for that, they are orthogonal to one another only, or random.
    """
    width = past.shape[1]
    fresh = normal(count, width, seed=seed, std=1.0)
    if count > width:
        return F.normalize(fresh, dim=1)
    basis = past.detach().cpu().float() if len(past) + count <= width else past[:0].cpu()
    vectors: Tensor = torch.linalg.qr(torch.cat([basis, fresh]).mT).Q  # (E, M + count)
    return vectors[:, -count:].mT.contiguous()
