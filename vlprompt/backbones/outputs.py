"""Outputs of a library's model: their number format, their pooled part, and how closely two of them must agree."""

import torch
from torch import Tensor

DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


def at_least_float32(x: Tensor) -> Tensor:
    """Convert half precision to float32; float64 stays float64."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def pooled(features: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The pooled features of a tower that may also return its tokens."""
    return features[0] if isinstance(features, tuple) else features


def agree(found: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    """Whether two results are equal up to the rounding of a model that computes in `dtype`."""
    if found.shape != expected.shape:
        return False
    tolerance = (0.1 if dtype == torch.bfloat16 else 1e-4) * float(expected.abs().max())
    return bool((found - expected).abs().max() <= tolerance)
