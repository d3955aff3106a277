"""Names, texts and the library's own features of them, for tests of text encoding."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

NAMES = ["cat", "grey owl", "a very old steam train", "dog"]
TEXTS = [f"a photo of a {name}." for name in NAMES] + ["cat", "red ! blue !", ""]
SAID = {"end": "red blue green {}.", "middle": "red {} blue green.", "front": "{} red blue green."}
SHARED = ["clip", "clip of 77 tokens", "quick gelu", "custom text", "no projection", "worldwide", "worldwide mt5"]
Build = Callable[[str], Any]


def error(got: Tensor, wanted: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    got, wanted = got.detach(), wanted.detach()
    return float((got - wanted).abs().max() / wanted.abs().max())


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gradient(features: Tensor, of: Tensor) -> Tensor:
    """The gradient of a fixed random sum of the features."""
    total = (features * noise(*features.shape, seed=1, dtype=features.dtype)).sum()
    (found,) = torch.autograd.grad(total, of, retain_graph=True)
    return found


def library_features(built: Any, position: str, context: Tensor, model: Any = None) -> Tensor:
    """(G, 3, D) shared or (G, C, 3, D) class-specific context -> (G, C, E) by the library's full forward."""
    texts = [SAID[position].format(name) for name in NAMES]
    if context.ndim == 3:
        return torch.stack([built.texts(texts, vectors, model) for vectors in context])
    rows = [[built.texts([text], own, model)[0] for text, own in zip(texts, each, strict=True)] for each in context]
    return torch.stack([torch.stack(row) for row in rows])
