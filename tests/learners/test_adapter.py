"""Adapters against a plain restatement, and the published start that learns nothing but a bias."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.learners.vits import NAMES, batch_for, small_vit, stirred
from vlprompt.errors import UsageError
from vlprompt.learners import Adapter, AdapterConfig


def bottleneck(part: Any, h: torch.Tensor) -> torch.Tensor:
    return h + F.gelu(h @ part.down.weight.T + part.down.bias) @ part.up.weight.T + part.up.bias


@pytest.mark.parametrize("position", ["pfeiffer", "houlsby"])
def test_features_are_those_of_a_plain_restatement(position: Any) -> None:
    vit = small_vit()
    learner: Any = stirred(Adapter(vit, NAMES, AdapterConfig(position=position, reduction=4)))
    batch, net = batch_for(vit), vit.model
    x, parts = vit.image_tokens.tower.embed(batch.images)[0], iter(learner.bottlenecks)
    for block in net.blocks:
        h = block.attn(block.norm1(x))
        x = x + (bottleneck(next(parts), h) if position == "houlsby" else h)
        x = x + bottleneck(next(parts), block.mlp(block.norm2(x)))
    assert next(parts, None) is None
    assert torch.allclose(learner(batch), learner.head(net.norm(x)[:, 0]), rtol=1e-9, atol=1e-9)
    assert torch.equal(vit.encode_image(batch.images), batch.features), "the shared model is not touched"


def test_the_published_start_moves_output_biases_only() -> None:
    vit = small_vit(torch.float32)
    batch = batch_for(vit)
    for quirks in (True, False):
        learner = Adapter(vit, NAMES, AdapterConfig(reference_quirks=quirks))
        learner.backward(batch)
        moved = {name.split(".", 2)[2] for name, p in learner.trainable().items() if "bottle" in name and p.grad.any()}
        assert moved == ({"up.bias"} if quirks else {"down.weight", "down.bias", "up.weight", "up.bias"})


def test_a_model_without_layers_is_refused() -> None:
    import timm

    from vlprompt.backbones import Vit
    from vlprompt.data.transforms import Preprocess

    net = Vit(timm.create_model("test_convnext"), Preprocess(32, (0.5,) * 3, (0.5,) * 3))
    with pytest.raises(UsageError, match=r"ConvNeXt.*trains its weights"):
        Adapter(net, NAMES)
    with pytest.raises(UsageError, match=r"unknown AdapterConfig\.position .*did you mean 'pfeiffer'"):
        AdapterConfig(position="pfeifer")  # type: ignore[arg-type]
