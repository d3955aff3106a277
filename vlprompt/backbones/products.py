"""Which of torch's two libraries multiplies float32 matrices on a CPU.

torch gives these products to MKL, which on AMD's processors keeps to half of the width of their vector units: a core of
an EPYC 9005 does 110 GFLOP/s there, and 245 in oneDNN, which torch brings too. torch lets oneDNN have them only where
it may round to bfloat16 (`torch.backends.mkldnn.matmul.fp32_precision`). It makes use of that on processors with matrix
units for bfloat16 (AMX, Arm's BF16) and computes in float32 on all others, so a product is asked which it is.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor

SIDE = 256  # of the matrices that are tried: torch keeps very small ones from oneDNN


@contextmanager
def fast_products() -> Iterator[None]:
    """While open, or in a function it decorates, float32 products on the CPU take the faster way if that is exact.

    A setting of the user's stays as it is: `torch.backends.mkldnn.matmul.fp32_precision = "ieee"` keeps MKL.
    """
    setting: Any = getattr(torch.backends.mkldnn, "matmul", None)  # torch 2.9
    before = getattr(setting, "fp32_precision", "")
    if before != "none" or not _onednn_is_exact():
        yield
        return
    setting.fp32_precision = "bf16"
    try:
        yield
    finally:
        setting.fp32_precision = before


def is_exact(product: Callable[[Tensor, Tensor], Tensor]) -> bool:
    """Whether a product of float32 matrices keeps all their digits: one with the identity gives them back."""
    numbers = torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(0)) + 1
    one = torch.eye(SIDE)
    return torch.equal(product(numbers, one), numbers) and torch.equal(product(one, numbers), numbers)


@cache
def _onednn_is_exact() -> bool:
    """Whether oneDNN, allowed to round to bfloat16, does not."""
    setting: Any = torch.backends.mkldnn
    if not setting.is_available():
        return False
    setting = setting.matmul
    before, setting.fp32_precision = setting.fp32_precision, "bf16"
    try:
        return is_exact(torch.matmul)
    finally:
        setting.fp32_precision = before
