"""Image prompts against a plain reimplementation in float64."""

import copy
from collections.abc import Callable
from typing import Any

import open_clip
import pytest
import timm
import torch

from tests.backbones.architectures import (
    SIZES,
    images_for,
    model,
    prompts_for,
    strengthened,
    tokens_of,
)
from tests.backbones.plain_tower import (
    TOWERS,
    Plain,
    native,
    strengthen,
    tokens,
    tower_images,
)
from vlprompt.backbones.image_tokens import ImageTokens
from vlprompt.backbones.prompt_types import NO_PROMPT, VisualPrompt
from vlprompt.errors import VlpromptError


@pytest.fixture(scope="module", params=TOWERS)
def visual(request: pytest.FixtureRequest) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return strengthen(TOWERS[request.param]())


PROMPTS: dict[str, Callable[[Any], VisualPrompt]] = {
    "shallow": lambda v: VisualPrompt(tokens(v, 2)),
    "shallow after the pre-norm": lambda v: VisualPrompt(tokens(v, 2), "propagate", "blocks"),
    "deep": lambda v: VisualPrompt(tokens(v, 2, 2, 2)),
    "deep, every layer its own number": lambda v: VisualPrompt(tokens(v, 3, 1, 2), "replace", "blocks"),
    "some layers": lambda v: VisualPrompt(tokens(v, 2, 2, first=1)),
    "ever more": lambda v: VisualPrompt(tokens(v, 2, 1, 2), "propagate"),
    "ever more after the pre-norm": lambda v: VisualPrompt(tokens(v, 2, 1), "propagate", "blocks"),
    "for each image": lambda v: VisualPrompt(tokens(v, 2, 2, images=3), "replace", "blocks"),
    "pooled too": lambda v: VisualPrompt(tokens(v, 2, 1), "propagate", "blocks", "include"),
    "pooled too, behind": lambda v: VisualPrompt(tokens(v, 2, 2), pool="include"),
    "pooled alone": lambda v: VisualPrompt(tokens(v, 2, 3), "propagate", "blocks", "only"),
    "pooled alone, for each image": lambda v: VisualPrompt(tokens(v, 2, images=3), pool="only"),
}


@pytest.mark.parametrize("kind", PROMPTS)
def test_features_and_gradients_equal_a_plain_reimplementation(visual: Any, kind: str) -> None:
    images, prompt = tower_images(visual), PROMPTS[kind](visual)
    got, wanted = ImageTokens(visual)(images, prompt), Plain(visual)(images, prompt)
    assert got.shape == wanted.shape
    assert torch.allclose(got, wanted, rtol=1e-10, atol=1e-10)
    own, plain = (torch.autograd.grad(x.sin().sum(), list(prompt.tokens.values())) for x in (got, wanted))
    for a, b in zip(own, plain, strict=True):
        assert a.abs().max() > 1e-6
        assert torch.allclose(a, b, rtol=1e-8, atol=1e-8 * float(b.abs().max()))


def test_no_prompt_and_an_empty_prompt_equal_the_librarys_own_forward(visual: Any) -> None:
    images, adapter = tower_images(visual), ImageTokens(visual)
    wanted = visual(images)
    wanted = wanted[0] if isinstance(wanted, tuple) else wanted
    empty = torch.zeros(0, adapter.width)
    for prompt in (NO_PROMPT, VisualPrompt({0: empty, 1: empty}), VisualPrompt({2: empty}, "propagate", "blocks")):
        torch.testing.assert_close(adapter(images, prompt), wanted, rtol=1e-12, atol=1e-12)


def test_an_image_does_not_depend_on_its_batch(visual: Any) -> None:
    images, adapter = tower_images(visual), ImageTokens(visual)
    shared, own = VisualPrompt(tokens(visual, 2, 2)), VisualPrompt(tokens(visual, 2, 2, images=3))
    for row in range(3):
        assert torch.allclose(adapter(images[[row]], shared), adapter(images, shared)[[row]], atol=1e-10)
        mine = VisualPrompt({layer: x[[row]] for layer, x in own.tokens.items()})
        assert torch.allclose(adapter(images[[row]], mine), adapter(images, own)[[row]], atol=1e-10)


def test_place_and_spread_change_the_features() -> None:
    visual = strengthen(native())
    images, learned = tower_images(visual), tokens(visual, 2, 2)
    ways = [VisualPrompt(learned, s, p) for s in ("replace", "propagate") for p in ("embed", "blocks")]
    found = [ImageTokens(visual)(images, way).detach() for way in ways]
    assert min(float((a - b).abs().max()) for i, a in enumerate(found) for b in found[:i]) > 1e-3


def test_half_precision_keeps_prompts_and_gradients_in_float32() -> None:
    visual = strengthen(native())
    images, prompt = (
        tower_images(visual),
        VisualPrompt({n: t.detach().float() for n, t in tokens(visual, 2, 2).items()}),
    )
    exact = ImageTokens(copy.deepcopy(visual).float())(images.float(), prompt)
    leaf = prompt.tokens[0].requires_grad_()
    rough = ImageTokens(copy.deepcopy(visual).bfloat16())(images.bfloat16(), prompt)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < 0.1 * exact.abs().max()
    rough.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.dtype == torch.float32
    assert leaf.grad.any()


def test_a_tower_that_does_more_than_its_steps_is_refused() -> None:
    visual = strengthen(native())
    visual.register_forward_hook(lambda module, given, out: out + 1)
    with pytest.raises(VlpromptError, match="more than embedding, blocks and pooling"):
        ImageTokens(visual)


def test_a_tower_without_gradients_for_prompts_is_refused() -> None:
    visual = strengthen(native())
    for block in visual.transformer.resblocks:
        block.register_forward_hook(lambda module, given, out: out.detach())
    with pytest.raises(VlpromptError, match="gets no gradient"):
        ImageTokens(visual)


def test_hooks_on_blocks_see_all_tokens(visual: Any) -> None:
    images, adapter = tower_images(visual), ImageTokens(visual)
    wanted, seen = adapter(images, NO_PROMPT), []
    for block in adapter.tower.blocks:
        block.register_forward_hook(lambda module, given, out: seen.append(out.shape))
    torch.testing.assert_close(adapter(images, NO_PROMPT), wanted, rtol=1e-12, atol=1e-12)
    places = adapter.tower.embed(images)[1]
    assert len(seen) == sum(not at.used for at in places)
    assert len(set(seen)) <= 1  # all tokens in the last layer too


def test_prompts_enter_before_or_after_the_pre_norm() -> None:
    made = model("pre-norm (CLIP)")
    images, prompts = images_for(made), prompts_for(made, 3)
    before = ImageTokens(made)(images, VisualPrompt(prompts, place="embed"))
    after = ImageTokens(made)(images, VisualPrompt(prompts, place="blocks"))
    normed = ImageTokens(made)(images, VisualPrompt({0: made.norm_pre(prompts[0])}, place="blocks"))
    assert (before - after).abs().max() > 1e-3
    assert torch.allclose(before, normed, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["rotary", "BEiT", "plain", "parallel scaling, pre-norm"])
def test_prompts_replace_or_join_those_of_the_layer_before(name: str) -> None:
    made = model(name)
    images, prompts, tokens = images_for(made), prompts_for(made, 3, 2), tokens_of(name)
    joined = tokens.outputs(images, VisualPrompt(prompts, "propagate", "blocks"))
    replaced = tokens.outputs(images, VisualPrompt(prompts, "replace", "blocks"))
    assert joined[1].shape[1] == 5
    assert replaced[1].shape[1] == 2
    assert (joined[0] - replaced[0]).abs().max() > 1e-4


def test_patch_dropout_never_drops_prompts() -> None:
    """A frozen model is in evaluation mode and drops nothing; if dropout is enabled, prompts enter after it."""
    made = strengthened(timm.create_model("vit_base_patch16_224", num_classes=0, patch_drop_rate=0.5, **SIZES))
    tokens = ImageTokens(made)
    images, prompts = images_for(made, side=32), prompts_for(made, 3)
    made.patch_drop.train()
    assert tokens.outputs(images, VisualPrompt(prompts, "propagate"))[1].shape[1] == 3
    assert tokens.outputs(images, VisualPrompt(prompts, "propagate"))[0].shape[1] == 1 + 2


def test_nothing_is_registered_on_the_model() -> None:
    """The model's own state has no new entry, and no hook remains."""
    visual = strengthened(open_clip.transformer.VisionTransformer(16, 8, 32, 2, 2, 2.0, output_dim=24))
    before = set(visual.state_dict())
    ImageTokens(visual)(torch.zeros(1, 3, 16, 16, dtype=torch.float64), VisualPrompt({0: torch.zeros(1, 32)}))
    assert set(visual.state_dict()) == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in visual.modules())
