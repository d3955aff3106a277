"""LoRA on a ViT: the change of the weights, written into them."""

import copy
from typing import Any

import pytest
import torch

from tests.learners.vits import NAMES, batch_for, small_vit, stirred
from vlprompt.errors import UsageError
from vlprompt.learners import LoRA, LoRAConfig


@pytest.mark.parametrize("parts", ["qv", "k", "qkv"])
def test_it_is_a_change_of_the_weights(parts: str) -> None:
    vit = small_vit()
    learner: Any = stirred(LoRA(vit, NAMES, LoRAConfig(rank=2, alpha=3.0, parts=parts)))
    merged = copy.deepcopy(vit.model)
    for block, layer in zip(merged.blocks, learner.layers, strict=True):
        for part, down, up in zip(parts, layer.down, layer.up, strict=True):
            rows = slice(24 * "qkv".index(part), 24 * ("qkv".index(part) + 1))
            block.attn.qkv.weight.data[rows] += 1.5 * up @ down
    batch = batch_for(vit)
    assert torch.allclose(learner(batch), learner.head(merged(batch.images)), rtol=1e-9, atol=1e-9)
    assert torch.equal(vit.encode_image(batch.images), batch.features), "the shared model is not touched"


def test_it_starts_as_the_frozen_model_and_learns() -> None:
    vit = small_vit(torch.float32)
    learner, batch = LoRA(vit, NAMES), batch_for(vit)
    assert torch.allclose(learner(batch), learner.head(batch.features), atol=1e-5)
    learner.backward(batch)
    assert all(layer.up.grad is not None and layer.up.grad.any() for layer in learner.layers)


def test_parts_are_letters_of_qkv() -> None:
    for wrong in ("", "x", "qo"):
        with pytest.raises(UsageError, match=r"LoRAConfig\.parts"):
            LoRAConfig(parts=wrong)
