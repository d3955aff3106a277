"""A limit on the memory of a model that is being built."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from vlprompt.backbones.memory_limit import BESIDE_WEIGHTS, PER_WEIGHT, MemoryLimit
from vlprompt.errors import VlpromptError


def test_the_limit_follows_the_weights_of_a_folder(tmp_path: Path) -> None:
    assert MemoryLimit(tmp_path).most > 10**8  # without weights, a model of random ones
    save_file({"a": torch.zeros(20, 10), "b": torch.zeros(5)}, tmp_path / "model.safetensors")
    assert MemoryLimit(tmp_path).most == PER_WEIGHT * 205 + BESIDE_WEIGHTS
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    assert MemoryLimit(tmp_path).most > 10**8


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.Linear(10**6, 10**6),
        lambda: nn.Embedding(10**12, 10),
        lambda: torch.randn((10**5, 10**5)),
        lambda: torch.full((10**10,), 1.0),
        lambda: torch.arange(10**12),
        lambda: torch.linspace(0, 1, 10**12),
        lambda: [nn.Linear(1, 1) for _ in range(10**6)],
    ],
)
def test_too_large_models_are_refused_before_they_use_memory(tmp_path: Path, build: object) -> None:
    save_file({"a": torch.zeros(20, 10)}, tmp_path / "model.safetensors")
    with pytest.raises(VlpromptError, match="far larger model than its weights"), MemoryLimit(tmp_path):
        build()  # type: ignore[operator]


def test_ordinary_models_are_built_with_the_same_numbers(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(20, 10)}, tmp_path / "model.safetensors")
    torch.manual_seed(1)
    wanted = nn.TransformerEncoderLayer(16, 2, 16)
    torch.manual_seed(1)
    with MemoryLimit(tmp_path):
        found = nn.TransformerEncoderLayer(16, 2, 16)
    assert all(torch.equal(a, b) for a, b in zip(wanted.parameters(), found.parameters(), strict=True))
