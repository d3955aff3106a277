"""Layers with unusual weights: heads of another width, quantised weights, gradient checkpointing."""

import copy

import pytest
import torch
from timm.layers.attention import Attention
from torch import Tensor, nn

from tests.backbones.architectures import (
    assert_same,
    by_hooks,
    images_for,
    model,
    prompts_for,
    strengthened,
)
from vlprompt.backbones.image_tokens import ImageTokens
from vlprompt.backbones.prompt_types import VisualPrompt
from vlprompt.errors import UsageError


@pytest.mark.parametrize("lengths", [(3,), (3, 3)], ids=["shallow", "deep"])
def test_heads_of_another_width(lengths: tuple[int, ...]) -> None:
    """All heads together are narrower than a token."""
    made = copy.deepcopy(model("plain"))
    for block in made.blocks:
        block.attn = Attention(made.embed_dim, num_heads=3, attn_head_dim=8, qkv_bias=True)
    made = strengthened(made)
    tokens, images, prompts = ImageTokens(made), images_for(made), prompts_for(made, *lengths)
    assert all(step is not None for step in tokens.steps), "these layers are rewritten like others"
    assert_same(tokens(images, VisualPrompt(prompts, place="blocks")), by_hooks(made, images, prompts), prompts)
    keys = prompts_for(made, 2)[0][:, :24]
    with pytest.raises(UsageError, match="keys and values of width 48, the layer has 24"):
        tokens(images, VisualPrompt(prefixes={0: (prompts[0], prompts[0])}))
    assert tokens(images, VisualPrompt(prefixes={0: (keys, keys)})).shape == (3, 7)


@pytest.mark.parametrize("name", ["plain", "rotary", "BEiT", "NaFlex, rotary", "parallel scaling, pre-norm"])
def test_gradient_checkpointing_recomputes_and_changes_nothing(name: str) -> None:
    made = copy.deepcopy(model(name))
    images, prompts, runs = images_for(made), prompts_for(made, 3, 3), []
    plain = ImageTokens(made)(images, VisualPrompt(prompts, place="blocks"))
    (expected,) = torch.autograd.grad(plain.sin().sum(), prompts[0])
    tokens = ImageTokens(made)
    made.set_grad_checkpointing(True)
    part = made.blocks[0].mlp if hasattr(made.blocks[0], "mlp") else made.blocks[0]
    part.register_forward_pre_hook(lambda *_: runs.append(1))
    (found,) = torch.autograd.grad(tokens(images, VisualPrompt(prompts, place="blocks")).sin().sum(), prompts[0])
    assert len(runs) == 2, "once forward, once in the backward pass"
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-12)


class Int8Linear(nn.Module):
    """A weight stored in 8 bits, as in quantised models."""

    def __init__(self, full: nn.Linear) -> None:
        super().__init__()
        self.scale = full.weight.abs().max() / 127
        whole = (full.weight / self.scale).round().to(torch.int8)
        self.weight, self.bias = nn.Parameter(whole, requires_grad=False), full.bias

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight.to(x) * self.scale, self.bias)


class Int8First(nn.Identity):
    """A first parameter of 8 bits, whose type is not the type of images."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(1, dtype=torch.int8), requires_grad=False)


def test_weights_of_8_bits() -> None:
    made = copy.deepcopy(model("plain"))
    for block in made.blocks:
        block.attn.qkv, block.mlp.fc1 = Int8Linear(block.attn.qkv), Int8Linear(block.mlp.fc1)
        block.norm1 = nn.Sequential(Int8First(), block.norm1)
    images, prompts = images_for(model("plain")), prompts_for(made, 3, 3)
    assert_same(
        ImageTokens(made)(images, VisualPrompt(prompts, place="blocks")), by_hooks(made, images, prompts), prompts
    )
