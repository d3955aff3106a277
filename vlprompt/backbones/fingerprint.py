"""A short name of a set of weights."""

import hashlib

import torch
from torch import nn


def fingerprint(model: nn.Module) -> str:
    """Sixteen hexadecimal digits of a hash over every stored tensor (name, shape, bytes) and the activation.

    The activation is included because open_clip has models that differ only in it (GELU and quick GELU).
    """
    digest = hashlib.sha256()
    digest.update(str(any(type(module).__name__ == "QuickGELU" for module in model.modules())).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
