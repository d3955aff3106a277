"""Pools of prompts: which of them an image gets is told by how near a frozen query of it lies to their keys."""

from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.init import normal


@runtime_checkable
class Pooled(Protocol):
    """A learner whose prompts come from a pool."""

    def usage(self, queries: Tensor) -> Tensor:
        """(B, E) features of the frozen model -> (B, M), the share that each prompt of the pool has in an image."""


def cosine(queries: Tensor, keys: Tensor) -> Tensor:
    """(B, E) and (..., M, E) -> (..., B, M)."""
    return F.normalize(queries, dim=-1) @ F.normalize(keys, dim=-1).mT


def orthonormal(past: Tensor, count: int, *, seed: int) -> Tensor:
    """(M, E) vectors -> (count, E) random unit vectors, at right angles to one another and to those of the past.

    Where E dimensions are too few for that, to one another only, or at random.
    """
    width = past.shape[1]
    fresh = normal(count, width, seed=seed, std=1.0)
    if count > width:
        return F.normalize(fresh, dim=1)
    basis = past.detach().cpu().float() if len(past) + count <= width else past[:0].cpu()
    found: Tensor = torch.linalg.qr(torch.cat([basis, fresh]).mT).Q  # (E, M + count)
    return found[:, -count:].mT.contiguous()
