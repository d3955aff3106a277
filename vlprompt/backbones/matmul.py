"""The faster of torch's two libraries for float32 matrix products on a CPU.

By default torch multiplies with MKL, which uses half the width of the vector units of AMD's processors: a core of an
EPYC 9005 computes 110 GFLOP/s there, and 245 in oneDNN, which torch also contains. torch uses oneDNN only where it may
round to bfloat16 (`torch.backends.mkldnn.matmul.fp32_precision`). oneDNN does round on processors with matrix units for
bfloat16 (AMX, Arm's BF16) and computes in float32 on all others; a test product shows which.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor

SIDE = 256  # of the test matrices: torch never gives very small ones to oneDNN


@contextmanager
def fast_matmul() -> Iterator[None]:
    """While open, or in a decorated function, float32 products on the CPU use the faster library if it is exact.

    A user's own setting is respected: `torch.backends.mkldnn.matmul.fp32_precision = "ieee"` selects MKL.
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
    """Whether a product of float32 matrices keeps all digits: multiplying by the identity changes nothing."""
    numbers = torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(0)) + 1
    one = torch.eye(SIDE)
    return torch.equal(product(numbers, one), numbers) and torch.equal(product(one, numbers), numbers)


@cache
def _onednn_is_exact() -> bool:
    """Whether oneDNN keeps float32 although it may round to bfloat16."""
    setting: Any = torch.backends.mkldnn
    if not setting.is_available():
        return False
    setting = setting.matmul
    before, setting.fp32_precision = setting.fp32_precision, "bf16"
    try:
        return is_exact(torch.matmul)
    finally:
        setting.fp32_precision = before
