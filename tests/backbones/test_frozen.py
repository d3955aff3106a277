"""Frozen models: their sizes, their features with and without prompts, and checks of their kind."""

import subprocess
import sys

import pytest
import timm
import torch

from tests.backbones.plain_tower import VIT, small_clip, tokens, tower_images
from tests.backbones.supported import PAGE, page
from vlprompt.backbones import Clip, Vit, load_vit
from vlprompt.backbones.frozen import check_kind
from vlprompt.backbones.image_tokens import ImageTokens
from vlprompt.backbones.prompt_types import VisualPrompt
from vlprompt.data.transforms import Preprocess
from vlprompt.errors import UsageError, VlpromptError


def test_clip_has_the_sizes_of_its_towers_and_encodes_prompts() -> None:
    clip = small_clip(VIT)
    assert (clip.text_width, clip.text_layers, clip.vision_width, clip.vision_layers) == (16, 2, 32, 3)
    images = tower_images(clip.model.visual)
    torch.testing.assert_close(clip.encode_image(images), clip.model.encode_image(images), rtol=1e-12, atol=1e-12)
    prompt = VisualPrompt(tokens(clip.model.visual, 2, 2))
    assert torch.equal(clip.encode_image(images, prompt), ImageTokens(clip.model.visual)(images, prompt))
    assert all(parameter.grad is None for parameter in clip.parameters())


def test_a_clip_without_image_tokens_works_without_prompts() -> None:
    clip = small_clip({"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}, double=False)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert clip.encode_image(images).shape == (2, 24)
    assert clip.encode_image(images, VisualPrompt()).shape == (2, 24)
    with pytest.raises(VlpromptError, match="ModifiedResNet"):
        clip.encode_image(images, VisualPrompt({0: torch.zeros(1, 8)}))
    with pytest.raises(VlpromptError, match="ModifiedResNet"):
        _ = clip.vision_width


def test_a_vit_that_takes_no_prompts_works_without_prompts() -> None:
    net = Vit(timm.create_model("test_convnext"), Preprocess(160, (0.5,) * 3, (0.5,) * 3))
    images = torch.randn(2, 3, 160, 160)
    assert net.encode_image(images).shape == (2, net.embed_dim)
    with pytest.raises(VlpromptError, match="ConvNeXt"):
        net.encode_image(images, VisualPrompt({0: torch.zeros(1, 8)}))


def test_half_precision_keeps_the_fingerprint() -> None:
    exact, half = load_vit("timm:test_vit", "random"), load_vit("timm:test_vit", "random", precision="bf16")
    assert exact.fingerprint == half.fingerprint
    assert half.encode_image(torch.randn(1, 3, 160, 160)).dtype == torch.float32


def test_a_backbone_of_another_kind_is_refused() -> None:
    vit = load_vit("timm:test_vit", "random")
    check_kind("coop", (Clip, Vit), vit)
    with pytest.raises(UsageError, match="coop needs a CLIP, such as 'ViT-B-16'; timm:test_vit/random is a ViT"):
        check_kind("coop", (Clip,), vit)
    check_kind("coop", (Clip,), object())  # a user's own class is not checked


def test_one_kind_of_backbone_does_not_import_the_others() -> None:
    program = (
        "import sys; from vlprompt.backbones import Clip; import vlprompt.backbones.frozen, vlprompt.learner; "
        "print(*sorted({'open_clip', 'timm', 'transformers', 'vlprompt.backbones.lm'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


def test_the_page_of_supported_backbones_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.backbones.supported"
