"""Towers of open_clip with a trunk of timm, and towers that take no prompts."""

from collections.abc import Callable
from typing import Any

import open_clip
import pytest
import timm
import torch
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import nn

from tests.backbones.architectures import assert_same, by_hooks, prompts_for, strengthened
from tests.backbones.plain_tower import native, plain_timm
from vlprompt.backbones.image_tokens import ImageTokens
from vlprompt.backbones.prompt_types import VisualPrompt
from vlprompt.errors import VlpromptError


@pytest.mark.parametrize(("pool", "projection"), [("token", "linear"), ("avg", ""), ("map", "mlp")])
def test_the_projection_is_applied_where_the_model_applies_it(pool: str, projection: str) -> None:
    trunk = "test_vit3" if pool == "map" else "test_vit"
    visual = strengthened(TimmModel(trunk, embed_dim=24, pool=pool, proj=projection))
    images = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prompt = VisualPrompt(prompts_for(visual.trunk, 3), "propagate", "blocks")
    image, _ = ImageTokens(visual).outputs(images, prompt)
    wanted = visual.head(visual.trunk.forward_head(image))
    assert wanted.shape == (2, 24)
    assert torch.allclose(ImageTokens(visual)(images, prompt), wanted, rtol=1e-9, atol=1e-9)


def test_a_model_of_open_clip_with_rotary_positions() -> None:
    """open_clip has such towers: PE-Core and EVA-02."""
    visual = TimmModel("eva02_tiny_patch14_224", embed_dim=24, pool="avg", proj="linear")
    visual = strengthened(visual)
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prompts = prompts_for(visual.trunk, 2)
    found = ImageTokens(visual)(images, VisualPrompt(prompts, place="blocks"))
    assert_same(found, visual.head(by_hooks(visual.trunk, images, prompts)), prompts)


def resnet() -> Any:
    return open_clip.modified_resnet.ModifiedResNet([1, 1, 1, 1], 16, 2, image_size=32, width=8)


def swin() -> Any:
    from timm.models.swin_transformer import SwinTransformer

    return SwinTransformer(img_size=32, patch_size=4, embed_dim=16, depths=(1, 1), num_heads=(1, 1), window_size=4)


class Subclass(VisionTransformer):
    """A subclass, which may compute something else."""


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "resnet": (resnet, "ModifiedResNet: a ResNet has no sequence of tokens"),
    "convnext": (lambda: timm.create_model("test_convnext"), "ConvNeXt: a convolutional network"),
    "convnext in clip": (lambda: TimmModel("test_convnext", 24, pool="avg"), "ConvNeXt: a convolutional network"),
    "swin": (swin, "SwinTransformer: its attention stays within windows"),
    "unknown": (lambda: nn.Linear(2, 2), "Linear: it is not a plain vision transformer"),
    "subclass": (lambda: Subclass(16, 8, 32, 2, 2, 2.0), "Subclass: it is not a plain vision transformer"),
    "tokens only": (lambda: native(pool_type="none"), "returns tokens, not one feature"),
    "timm tokens only": (lambda: plain_timm(global_pool="", num_classes=0), "returns tokens, not one feature"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_towers_that_take_no_prompts_are_refused_with_the_reason(name: str) -> None:
    make, reason = REFUSED[name]
    with pytest.raises(VlpromptError, match=reason) as caught:
        ImageTokens(make().eval())
    assert "\n" not in str(caught.value)
    assert "'ViT-B-16'" in str(caught.value), "the error must name a model that works"
