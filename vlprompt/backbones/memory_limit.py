"""A limit on the memory of a model that is being built, from the size of its weights."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch.overrides import TorchFunctionMode

from vlprompt.errors import VlpromptError

# What creates tensors from sizes.
CREATES = frozenset(
    (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.linspace, torch.arange, torch.eye)
)
MOST_TENSORS = 100_000
# Elements without a file of weights, 4 GB; beside one, tables, masks and weights that are replaced are allowed too.
MOST_ELEMENTS, BESIDE_WEIGHTS, PER_WEIGHT = 1_000_000_000, 20_000_000, 8


class MemoryLimit(TorchFunctionMode):
    """While open, tensors of far more elements than the weights of a folder have cannot be created."""

    def __init__(self, folder: Path | None) -> None:
        """Set the limit by the safetensors files of a folder; None for a model that needs no limit."""
        super().__init__()
        self.folder, self.tensors, self.elements = folder, 0, 0
        weights = sum(map(_elements, folder.glob("*.safetensors"))) if folder else 0
        self.most = PER_WEIGHT * weights + BESIDE_WEIGHTS if weights else MOST_ELEMENTS

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Count a tensor before it is created; VlpromptError if there are too many or they are too large."""
        kwargs = kwargs or {}
        if self.folder and func in CREATES:
            self.tensors += 1
            self.elements += func(*args, **{**kwargs, "device": "meta", "pin_memory": False}).numel()
            if self.elements > self.most or self.tensors > MOST_TENSORS:
                raise VlpromptError(f"{self.folder}: its configuration describes a far larger model than its weights.")
        return func(*args, **kwargs)


def _elements(path: Path) -> int:
    """The number of elements of all tensors in a safetensors file, from its header; 0 if it is damaged."""
    try:
        with safe_open(path, "pt") as file:
            return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    except (OSError, SafetensorError):
        return 0  # the library that reads it gives the error
