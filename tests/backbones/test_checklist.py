"""What differs between vision transformers, row by row: each row has gone wrong in some code that prompts them.

Rows on text (length, pooling by ids, CoCa's class token) are in test_text_encoding.py; blocks that want (N, B, D), and
towers that give tuples of tokens, are among the towers of test_image_tokens.py.
"""

import copy
from typing import Any

import open_clip
import pytest
import timm
import torch
from open_clip.timm_model import TimmModel
from timm.layers.attention import Attention
from torch import Tensor, nn

from tests.backbones.architectures import REFUSED, SIZES, WORKING, by_hooks, model, strengthened, tokens_of
from vlprompt.backbones.image_layers import widened
from vlprompt.backbones.image_tokens import ImageTokens
from vlprompt.backbones.prompts import NONE, VisualPrompt
from vlprompt.errors import UsageError, VlpromptError

ROTARY = [name for name in WORKING if "rotary" in name]
BIASED = [name for name in WORKING if "BEiT" in name or "relative" in name]
OWN_ATTENTION = {"parallel scaling, pre-norm", "differential attention", "differential, parallel", "18x2", "CaiT"}


def images_for(made: Any, count: int = 3, side: int = 0) -> Tensor:
    side = side or made.pretrained_cfg["input_size"][-1]
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def prompts_for(made: Any, *lengths: int, images: int = 0) -> dict[int, Tensor]:
    generator = torch.Generator().manual_seed(2)
    shapes = [(images, n, made.embed_dim) if images else (n, made.embed_dim) for n in lengths]
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return dict(enumerate(each.requires_grad_() for each in drawn))


def same(a: Tensor, b: Tensor, prompts: dict[int, Tensor]) -> None:
    """Two ways agree to rounding in values and in the prompts' gradients, and these are not zero."""
    assert a.shape == b.shape
    assert torch.allclose(a, b, rtol=1e-9, atol=1e-9 * float(b.detach().abs().max()))
    ours, theirs = (torch.autograd.grad(x.sin().sum(), list(prompts.values())) for x in (a, b))
    largest = max(float(other.abs().max()) for other in theirs)
    assert largest > 1e-6
    for mine, other in zip(ours, theirs, strict=True):
        assert other.any()
        assert torch.allclose(mine, other, rtol=1e-7, atol=1e-7 * largest)


@pytest.mark.parametrize("name", WORKING)
def test_without_prompts_it_is_timms_own_forward(name: str) -> None:
    made = model(name)
    images = images_for(made)
    assert torch.allclose(tokens_of(name)(images, NONE), made(images), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("lengths", [(3,), (3, 3)], ids=["shallow", "deep"])
@pytest.mark.parametrize("name", WORKING)
def test_prompts_do_what_they_do_among_timms_own_tokens(name: str, lengths: tuple[int, ...]) -> None:
    made = model(name)
    images, prompts = images_for(made), prompts_for(made, *lengths)
    same(tokens_of(name)(images, VisualPrompt(prompts, place="blocks")), by_hooks(made, images, prompts), prompts)


@pytest.mark.parametrize("name", WORKING)
def test_prompts_that_are_pooled_too(name: str) -> None:
    made = model(name)
    images, prompts = images_for(made), prompts_for(made, 3, 3)
    found = tokens_of(name)(images, VisualPrompt(prompts, place="blocks", pool="include"))
    same(found, by_hooks(made, images, prompts, strip=False), prompts)


@pytest.mark.parametrize("images_each", [0, 3], ids=["shared", "each image its own"])
@pytest.mark.parametrize("name", WORKING)
def test_keys_and_values_alone_are_exact(name: str, images_each: int) -> None:
    """Against the way through all tokens, other numbers of prompts in each layer."""
    made = model(name)
    images, prompts = images_for(made), prompts_for(made, 4, 1, images=images_each)
    tokens, prompt = tokens_of(name), VisualPrompt(prompts, place="blocks")
    same(tokens(images, prompt), made.forward_head(tokens.outputs(images, prompt)[0]), prompts)


@pytest.mark.parametrize("name", [name for name in WORKING if name not in OWN_ATTENTION])
def test_a_prefix_is_a_prompt_whose_keys_and_values_are_given(name: str) -> None:
    """Joined keys and values that are those of tokens do what the tokens do."""
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
    same(tokens(images, VisualPrompt(prefixes={n: prefix(n) for n in prompts})), wanted(), prompts)
    same(tokens(images, VisualPrompt(prefixes={n: each(n) for n in prompts})), wanted(), prompts)
    later = {layer: prompt for layer, prompt in prompts.items() if layer}
    same(tokens(images, VisualPrompt(later, place="blocks", prefixes={0: each(0)})), wanted(), prompts)


@pytest.mark.parametrize("name", sorted(OWN_ATTENTION))
def test_layers_with_attention_of_their_own_refuse_prefixes(name: str) -> None:
    made = model(name)
    part = torch.zeros(2, made.embed_dim)
    with pytest.raises(UsageError, match="attention of its own kind"):
        tokens_of(name)(images_for(made), VisualPrompt(prefixes={0: (part, part)}))


@pytest.mark.parametrize("name", REFUSED)
def test_others_are_refused_with_the_reason(name: str) -> None:
    with torch.device("meta"):
        made = timm.create_model(name)
    with pytest.raises(VlpromptError, match=REFUSED[name]) as caught:
        ImageTokens(made)
    assert "\n" not in str(caught.value)
    assert "timm:vit_base_patch16_224" in str(caught.value), "it must say what works instead"


def test_1_prefix_counts() -> None:
    assert {tokens_of(name).tower.lead for name in WORKING} == {0, 1, 2, 4, 5}


def test_2_before_or_after_the_pre_norm() -> None:
    made = model("pre-norm (CLIP)")
    images, prompts = images_for(made), prompts_for(made, 3)
    before = ImageTokens(made)(images, VisualPrompt(prompts, place="embed"))
    after = ImageTokens(made)(images, VisualPrompt(prompts, place="blocks"))
    normed = ImageTokens(made)(images, VisualPrompt({0: made.norm_pre(prompts[0])}, place="blocks"))
    assert (before - after).abs().max() > 1e-3
    assert torch.allclose(before, normed, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["rotary", "BEiT", "plain", "parallel scaling, pre-norm"])
def test_3_prompts_replace_those_before_or_join_them(name: str) -> None:
    made = model(name)
    images, prompts, tokens = images_for(made), prompts_for(made, 3, 2), tokens_of(name)
    joined = tokens.outputs(images, VisualPrompt(prompts, "propagate", "blocks"))
    replaced = tokens.outputs(images, VisualPrompt(prompts, "replace", "blocks"))
    assert joined[1].shape[1] == 5
    assert replaced[1].shape[1] == 2
    assert (joined[0] - replaced[0]).abs().max() > 1e-4


@pytest.mark.parametrize("name", WORKING)
def test_4_prompts_alone_are_pooled(name: str) -> None:
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
    same(tokens(images, prompt), wanted, prompts)


@pytest.mark.parametrize("name", [*ROTARY, *BIASED])
def test_5_and_6_positions_are_left_as_they_were(name: str) -> None:
    """The library's own modules are not told of prompts, so another user of them notices nothing."""
    made = model(name)
    images = images_for(made)
    before, attributes = made(images), [getattr(b.attn, "num_prefix_tokens", None) for b in made.blocks]
    tokens_of(name)(images, VisualPrompt(prompts_for(made, 3)))
    assert torch.equal(made(images), before)
    assert [getattr(b.attn, "num_prefix_tokens", None) for b in made.blocks] == attributes


@pytest.mark.parametrize("shape", [(5, 5), (6, 5, 5), (2, 3, 5, 5), (1, 1, 1, 5)])
@pytest.mark.parametrize("kind", [torch.float64, torch.bool])
def test_7_masks_leave_room_for_prompts(shape: tuple[int, ...], kind: torch.dtype) -> None:
    mask = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3).to(kind)
    wide = widened(mask, 1, 2)
    rows = 7 if shape[-2] > 1 else 1
    assert wide.shape == (*shape[:-2], rows, 7)
    assert wide.dtype == kind
    kept = [0, 3, 4, 5, 6]
    inside = wide[..., kept] if rows == 1 else wide[..., kept, :][..., kept]
    assert torch.equal(inside, mask)
    seen = torch.ones((), dtype=torch.bool) if kind == torch.bool else torch.zeros((), dtype=kind)
    assert bool((wide[..., 1:3] == seen).all()), "everybody sees the prompts"
    assert rows == 1 or bool((wide[..., 1:3, :] == seen).all()), "the prompts see everybody"
    assert torch.equal(widened(mask, 1, 0), mask)


@pytest.mark.parametrize("lengths", [(3,), (3, 3)], ids=["shallow", "deep"])
def test_11_heads_of_a_width_of_their_own(lengths: tuple[int, ...]) -> None:
    """Where the heads together are not as wide as a token."""
    made = copy.deepcopy(model("plain"))
    for block in made.blocks:
        block.attn = Attention(made.embed_dim, num_heads=3, attn_head_dim=8, qkv_bias=True)
    made = strengthened(made)
    tokens, images, prompts = ImageTokens(made), images_for(made), prompts_for(made, *lengths)
    assert all(step is not None for step in tokens.steps), "they are spelled out like others"
    same(tokens(images, VisualPrompt(prompts, place="blocks")), by_hooks(made, images, prompts), prompts)
    keys = prompts_for(made, 2)[0][:, :24]
    with pytest.raises(UsageError, match="keys and values of 48 numbers were given, the layer's have 24"):
        tokens(images, VisualPrompt(prefixes={0: (prompts[0], prompts[0])}))
    assert tokens(images, VisualPrompt(prefixes={0: (keys, keys)})).shape == (3, 7)


@pytest.mark.parametrize("name", ["plain", "rotary", "BEiT", "NaFlex, rotary", "parallel scaling, pre-norm"])
def test_12_gradient_checkpointing_recomputes_and_changes_nothing(name: str) -> None:
    made = copy.deepcopy(model(name))
    images, prompts, runs = images_for(made), prompts_for(made, 3, 3), []
    plain = ImageTokens(made)(images, VisualPrompt(prompts, place="blocks"))
    (expected,) = torch.autograd.grad(plain.sin().sum(), prompts[0])
    tokens = ImageTokens(made)
    made.set_grad_checkpointing(True)
    part = made.blocks[0].mlp if hasattr(made.blocks[0], "mlp") else made.blocks[0]
    part.register_forward_pre_hook(lambda *_: runs.append(1))
    (found,) = torch.autograd.grad(tokens(images, VisualPrompt(prompts, place="blocks")).sin().sum(), prompts[0])
    assert len(runs) == 2, "once forward, once again for the backward pass"
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_13_dropped_patches_are_never_prompts() -> None:
    """A frozen model drops none, being in evaluation mode; where it is made to, prompts enter behind that."""
    made = strengthened(timm.create_model("vit_base_patch16_224", num_classes=0, patch_drop_rate=0.5, **SIZES))
    tokens = ImageTokens(made)
    images, prompts = images_for(made, side=32), prompts_for(made, 3)
    made.patch_drop.train()
    assert tokens.outputs(images, VisualPrompt(prompts, "propagate"))[1].shape[1] == 3
    assert tokens.outputs(images, VisualPrompt(prompts, "propagate"))[0].shape[1] == 1 + 2


@pytest.mark.parametrize("name", ["any size of image", "NaFlex, rotary", "NaFlex, 4 prefix tokens"])
def test_14_images_of_another_size(name: str) -> None:
    made = model(name)
    images, prompts = images_for(made, side=64), prompts_for(made, 3, 3)
    same(tokens_of(name)(images, VisualPrompt(prompts, place="blocks")), by_hooks(made, images, prompts), prompts)


def test_14_a_size_that_is_set_later() -> None:
    made = copy.deepcopy(model("plain"))
    tokens = ImageTokens(made)
    made.set_input_size(img_size=(48, 48))
    images, prompts = images_for(made, side=48), prompts_for(made, 3, 3)
    same(tokens(images, VisualPrompt(prompts, place="blocks")), by_hooks(made, images, prompts), prompts)


@pytest.mark.parametrize("name", ["plain", "rotary", "BEiT", "relative positions", "query and key norms"])
def test_15_half_precision_keeps_prompts_in_float32(name: str) -> None:
    made, half = copy.deepcopy(model(name)).float(), copy.deepcopy(model(name)).bfloat16()
    images = images_for(model(name)).float()
    prompts = {n: each.detach().float().requires_grad_() for n, each in prompts_for(made, 3, 3).items()}
    exact, rough = (ImageTokens(each)(images, VisualPrompt(prompts, place="blocks")) for each in (made, half))
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < 0.15 * exact.abs().max()
    (gradient,) = torch.autograd.grad(rough.sum(), prompts[0])
    assert gradient.dtype == torch.float32
    assert gradient.any()


def test_16_both_heads_of_a_distilled_model_read_their_token() -> None:
    made = model("2 prefix tokens, two heads (DeiT distilled)")
    images, prompt = images_for(made), VisualPrompt(prompts_for(made, 3, 3), place="blocks")
    image, _ = ImageTokens(made).outputs(images, prompt)
    wanted = (made.head(image[:, 0]) + made.head_dist(image[:, 1])) / 2
    assert torch.allclose(ImageTokens(made)(images, prompt), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("pool", "projection"), [("token", "linear"), ("avg", ""), ("map", "mlp")])
def test_17_the_projection_is_where_the_model_has_it(pool: str, projection: str) -> None:
    trunk = "test_vit3" if pool == "map" else "test_vit"
    visual = strengthened(TimmModel(trunk, embed_dim=24, pool=pool, proj=projection))
    images = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prompt = VisualPrompt(prompts_for(visual.trunk, 3), "propagate", "blocks")
    image, _ = ImageTokens(visual).outputs(images, prompt)
    wanted = visual.head(visual.trunk.forward_head(image))
    assert wanted.shape == (2, 24)
    assert torch.allclose(ImageTokens(visual)(images, prompt), wanted, rtol=1e-9, atol=1e-9)


def test_17_a_model_of_open_clip_with_rotary_positions() -> None:
    """PE-Core and EVA-02 are towers of open_clip too."""
    visual = TimmModel("eva02_tiny_patch14_224", embed_dim=24, pool="avg", proj="linear")
    visual = strengthened(visual)
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prompts = prompts_for(visual.trunk, 2)
    found = ImageTokens(visual)(images, VisualPrompt(prompts, place="blocks"))
    same(found, visual.head(by_hooks(visual.trunk, images, prompts)), prompts)


class Int8Linear(nn.Module):
    """A weight in 8 bits, as quantised models keep them."""

    def __init__(self, full: nn.Linear) -> None:
        super().__init__()
        self.scale = full.weight.abs().max() / 127
        whole = (full.weight / self.scale).round().to(torch.int8)
        self.weight, self.bias = nn.Parameter(whole, requires_grad=False), full.bias

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight.to(x) * self.scale, self.bias)


def test_20_weights_of_8_bits() -> None:
    made = copy.deepcopy(model("plain"))
    for block in made.blocks:
        block.attn.qkv, block.mlp.fc1 = Int8Linear(block.attn.qkv), Int8Linear(block.mlp.fc1)
        block.norm1 = nn.Sequential(Int8First(), block.norm1)
    images, prompts = images_for(model("plain")), prompts_for(made, 3, 3)
    same(ImageTokens(made)(images, VisualPrompt(prompts, place="blocks")), by_hooks(made, images, prompts), prompts)


class Int8First(nn.Identity):
    """A block whose first parameter is of 8 bits: its type is not the type of images."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(1, dtype=torch.int8), requires_grad=False)


def test_21_nothing_is_registered_on_the_model() -> None:
    """Prompts belong to a learner: the model's own state has no new entry and no hook stays."""
    visual = strengthened(open_clip.transformer.VisionTransformer(16, 8, 32, 2, 2, 2.0, output_dim=24))
    before = set(visual.state_dict())
    ImageTokens(visual)(torch.zeros(1, 3, 16, 16, dtype=torch.float64), VisualPrompt({0: torch.zeros(1, 32)}))
    assert set(visual.state_dict()) == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in visual.modules())
