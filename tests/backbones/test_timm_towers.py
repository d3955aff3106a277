"""Prompts in every supported architecture of timm, against timm's own forward with prompts inserted by hooks."""

import copy

import pytest
import timm
import torch
from torch import Tensor, nn

from tests.backbones.architectures import (
    REFUSED,
    WORKING,
    assert_same,
    by_hooks,
    images_for,
    model,
    prompts_for,
    tokens_of,
)
from vlprompt.backbones.image_tokens import ImageTokens
from vlprompt.backbones.prompt_types import NO_PROMPT, VisualPrompt
from vlprompt.errors import UsageError, VlpromptError

ROTARY = [name for name in WORKING if "rotary" in name]
BIASED = [name for name in WORKING if "BEiT" in name or "relative" in name]
OWN_ATTENTION = {"parallel scaling, pre-norm", "differential attention", "differential, parallel", "18x2", "CaiT"}


@pytest.mark.parametrize("name", WORKING)
def test_without_prompts_it_is_timms_own_forward(name: str) -> None:
    made = model(name)
    images = images_for(made)
    assert torch.allclose(tokens_of(name)(images, NO_PROMPT), made(images), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("lengths", [(3,), (3, 3)], ids=["shallow", "deep"])
@pytest.mark.parametrize("name", WORKING)
def test_prompts_equal_prompts_among_timms_own_tokens(name: str, lengths: tuple[int, ...]) -> None:
    made = model(name)
    images, prompts = images_for(made), prompts_for(made, *lengths)
    assert_same(
        tokens_of(name)(images, VisualPrompt(prompts, place="blocks")), by_hooks(made, images, prompts), prompts
    )


@pytest.mark.parametrize("name", WORKING)
def test_pooling_that_includes_prompts(name: str) -> None:
    made = model(name)
    images, prompts = images_for(made), prompts_for(made, 3, 3)
    found = tokens_of(name)(images, VisualPrompt(prompts, place="blocks", pool="include"))
    assert_same(found, by_hooks(made, images, prompts, strip=False), prompts)


@pytest.mark.parametrize("images_each", [0, 3], ids=["shared", "each image its own"])
@pytest.mark.parametrize("name", WORKING)
def test_keys_and_values_alone_are_exact(name: str, images_each: int) -> None:
    """Against prompts among the tokens, with other numbers of prompts in each layer."""
    made = model(name)
    images, prompts = images_for(made), prompts_for(made, 4, 1, images=images_each)
    tokens, prompt = tokens_of(name), VisualPrompt(prompts, place="blocks")
    assert_same(tokens(images, prompt), made.forward_head(tokens.outputs(images, prompt)[0]), prompts)


@pytest.mark.parametrize("name", [name for name in WORKING if name not in OWN_ATTENTION])
def test_a_prefix_with_the_keys_and_values_of_tokens_equals_the_tokens(name: str) -> None:
    """A prefix computed from tokens has the effect of the tokens."""
    made, tokens = model(name), tokens_of(name)
    images, prompts = images_for(made), prompts_for(made, *(3 - layer % 2 for layer in range(len(made.blocks))))

    def prefix(layer: int) -> tuple[Tensor, Tensor]:
        step = tokens.steps[layer]
        assert step is not None
        keys, values = (part[0].transpose(0, 1).flatten(1) for part in step.keys_values(prompts[layer]))
        return keys, values

    def each(layer: int) -> tuple[Tensor, Tensor]:
        keys, values = (part.expand(len(images), *part.shape) for part in prefix(layer))
        return keys, values

    wanted = lambda: tokens(images, VisualPrompt(prompts, place="blocks"))  # noqa: E731, a graph of its own
    assert_same(tokens(images, VisualPrompt(prefixes={n: prefix(n) for n in prompts})), wanted(), prompts)
    assert_same(tokens(images, VisualPrompt(prefixes={n: each(n) for n in prompts})), wanted(), prompts)
    later = {layer: prompt for layer, prompt in prompts.items() if layer}
    assert_same(tokens(images, VisualPrompt(later, place="blocks", prefixes={0: each(0)})), wanted(), prompts)


@pytest.mark.parametrize("name", sorted(OWN_ATTENTION))
def test_layers_with_their_own_kind_of_attention_refuse_prefixes(name: str) -> None:
    made = model(name)
    part = torch.zeros(2, made.embed_dim)
    with pytest.raises(UsageError, match="its own kind of attention"):
        tokens_of(name)(images_for(made), VisualPrompt(prefixes={0: (part, part)}))


@pytest.mark.parametrize("name", REFUSED)
def test_other_architectures_are_refused_with_the_reason(name: str) -> None:
    with torch.device("meta"):
        made = timm.create_model(name)
    with pytest.raises(VlpromptError, match=REFUSED[name]) as caught:
        ImageTokens(made)
    assert "\n" not in str(caught.value)
    assert "timm:vit_base_patch16_224" in str(caught.value), "the error must name a model that works"


def test_every_number_of_leading_tokens_is_covered() -> None:
    assert {tokens_of(name).tower.lead for name in WORKING} == {0, 1, 2, 4, 5}


@pytest.mark.parametrize("name", WORKING)
def test_pooling_of_prompts_only(name: str) -> None:
    made = model(name)
    images, prompts, tokens = images_for(made), prompts_for(made, 3), tokens_of(name)
    prompt = VisualPrompt(prompts, "propagate", "blocks", "only")
    outputs = tokens.outputs(images, prompt)[1]
    if name == "CaiT":
        wanted = made.head(outputs[:, 0])
    elif getattr(made, "attn_pool", None) is not None:
        wanted = made.head(made.fc_norm(made.attn_pool(outputs)))
    else:
        mean = getattr(made, "fc_norm", nn.Identity())(outputs.mean(dim=1))
        heads = [made.head, made.head_dist] if hasattr(made, "head_dist") else [made.head]
        wanted = torch.stack([head(mean) for head in heads]).mean(dim=0)
    assert_same(tokens(images, prompt), wanted, prompts)


@pytest.mark.parametrize("name", [*ROTARY, *BIASED])
def test_the_librarys_positions_do_not_change(name: str) -> None:
    """The library's own modules are not changed, so other users of them are not affected."""
    made = model(name)
    images = images_for(made)
    before, attributes = made(images), [getattr(b.attn, "num_prefix_tokens", None) for b in made.blocks]
    tokens_of(name)(images, VisualPrompt(prompts_for(made, 3)))
    assert torch.equal(made(images), before)
    assert [getattr(b.attn, "num_prefix_tokens", None) for b in made.blocks] == attributes


@pytest.mark.parametrize("name", ["any size of image", "NaFlex, rotary", "NaFlex, 4 prefix tokens"])
def test_images_of_another_size(name: str) -> None:
    made = model(name)
    images, prompts = images_for(made, side=64), prompts_for(made, 3, 3)
    assert_same(
        tokens_of(name)(images, VisualPrompt(prompts, place="blocks")), by_hooks(made, images, prompts), prompts
    )


def test_an_image_size_that_is_set_later() -> None:
    made = copy.deepcopy(model("plain"))
    tokens = ImageTokens(made)
    made.set_input_size(img_size=(48, 48))
    images, prompts = images_for(made, side=48), prompts_for(made, 3, 3)
    assert_same(tokens(images, VisualPrompt(prompts, place="blocks")), by_hooks(made, images, prompts), prompts)


@pytest.mark.parametrize("name", ["plain", "rotary", "BEiT", "relative positions", "query and key norms"])
def test_half_precision_keeps_prompts_in_float32(name: str) -> None:
    made, half = copy.deepcopy(model(name)).float(), copy.deepcopy(model(name)).bfloat16()
    images = images_for(model(name)).float()
    prompts = {n: each.detach().float().requires_grad_() for n, each in prompts_for(made, 3, 3).items()}
    exact, rough = (ImageTokens(each)(images, VisualPrompt(prompts, place="blocks")) for each in (made, half))
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < 0.15 * exact.abs().max()
    (gradient,) = torch.autograd.grad(rough.sum(), prompts[0])
    assert gradient.dtype == torch.float32
    assert gradient.any()


def test_both_heads_of_a_distilled_model_read_their_token() -> None:
    made = model("2 prefix tokens, two heads (DeiT distilled)")
    images, prompt = images_for(made), VisualPrompt(prompts_for(made, 3, 3), place="blocks")
    image, _ = ImageTokens(made).outputs(images, prompt)
    wanted = (made.head(image[:, 0]) + made.head_dist(image[:, 1])) / 2
    assert torch.allclose(ImageTokens(made)(images, prompt), wanted, rtol=1e-9, atol=1e-9)
