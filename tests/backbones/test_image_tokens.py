"""Image prompts against a plain restatement in float64, and towers that cannot take them."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import open_clip
import pytest
import timm
import torch
import torch.nn.functional as F
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from vlprompt.backbones import image_layers
from vlprompt.backbones.adapted import AdaptedAttention, twin
from vlprompt.backbones.clip import Clip
from vlprompt.backbones.image_layers import attention
from vlprompt.backbones.image_tokens import ImageTokens
from vlprompt.backbones.prompts import NONE, VisualPrompt
from vlprompt.backbones.tokens import Tokenizer
from vlprompt.data.transforms import Preprocess
from vlprompt.errors import UsageError, VlpromptError

LAYERS = 3


def native(**options: Any) -> Any:
    sizes = {"image_size": 16, "patch_size": 8, "width": 32, "layers": LAYERS, "heads": 2, "mlp_ratio": 2.0}
    return VisionTransformer(**{**sizes, "output_dim": 24, **options})


def plain_timm(**options: Any) -> Any:
    return timm.create_model("test_vit", **{"img_size": 32, "depth": LAYERS, "num_classes": 7, **options})


def within(pool: str, projection: str) -> Any:
    return TimmModel("test_vit", embed_dim=24, pool=pool, proj=projection)


def length_first() -> Any:
    visual = native()
    visual.transformer.batch_first = False
    for block in visual.transformer.resblocks:
        block.attn.batch_first = False
    return visual


TOWERS: dict[str, Callable[[], Any]] = {
    "native": native,
    "native mean": lambda: native(pool_type="avg", no_ln_pre=True),
    "native mean then norm": lambda: native(pool_type="avg", final_ln_after_pool=True),
    "native attention": lambda: native(attentional_pool=True, attn_pooler_heads=2, output_tokens=True),
    "native layer scale": lambda: native(ls_init_value=0.5, output_tokens=True, pool_type="tok"),
    "length first": length_first,
    "timm": plain_timm,
    "timm registers, mean": lambda: plain_timm(global_pool="avg", reg_tokens=2, pre_norm=True),
    "timm mean of all": lambda: plain_timm(global_pool="avg", pool_include_prefix=True),
    "timm attention, no class": lambda: plain_timm(global_pool="map", class_token=False, init_values=0.3),
    "timm in clip": lambda: within("token", "linear"),
    "timm in clip, own head": lambda: within("avg", ""),
}


def strengthen(visual: Any, seed: int = 0) -> Any:
    """Random weights at which every part matters, in float64."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in visual.double().parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        wide = parameter.ndim > 1 and parameter.shape[0] > 1
        parameter.data = noise * 1.5 / parameter[0].numel() ** 0.5 if wide else 0.5 * noise + (parameter.ndim == 1)
    return visual.requires_grad_(False).eval()


@pytest.fixture(scope="module", params=TOWERS)
def visual(request: pytest.FixtureRequest) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return strengthen(TOWERS[request.param]())


def images_for(visual: Any, count: int = 3) -> Tensor:
    side = ImageTokens(visual).tower.size[0]
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def attend(x: Tensor, weight: Tensor, bias: Tensor, heads: int) -> Tensor:
    """Self-attention of (B, N, D) tokens, one head after the other."""
    q, k, v = F.linear(x, weight, bias).chunk(3, dim=-1)
    depth, parts = x.shape[-1] // heads, []
    for head in range(heads):
        mine = slice(head * depth, (head + 1) * depth)
        scores = q[..., mine] @ k[..., mine].mT / depth**0.5
        parts.append(scores.softmax(dim=-1) @ v[..., mine])
    return torch.cat(parts, dim=-1)


@dataclass
class Plain:
    """A tower in tensors: images and prompts are kept apart, and meet in attention only, where order is nothing."""

    visual: Any

    @property
    def trunk(self) -> Any:
        return getattr(self.visual, "trunk", self.visual)

    @property
    def is_native(self) -> bool:
        return isinstance(self.visual, VisionTransformer)

    def embed(self, images: Tensor) -> Tensor:
        v = self.trunk
        kernel = v.conv1 if self.is_native else v.patch_embed.proj
        patches = F.conv2d(images, kernel.weight, kernel.bias, stride=kernel.stride).flatten(2).mT
        if self.is_native:
            lead, positions = [v.class_embedding[None]], v.positional_embedding
        else:
            lead = [t[0] for t in (v.cls_token, v.reg_token) if t is not None]
            positions = v.pos_embed[0]
        whole = torch.cat([*(tokens.expand(len(images), -1, -1) for tokens in lead), patches], dim=1)
        return self.pre_norm(whole + positions)

    def pre_norm(self, x: Tensor) -> Tensor:
        norm = self.trunk.ln_pre if self.is_native else self.trunk.norm_pre
        return x if isinstance(norm, nn.Identity) else F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)

    def block(self, layer: int, x: Tensor) -> Tensor:
        if self.is_native:
            b = self.visual.transformer.resblocks[layer]
            out, heads, qkv = b.attn.out_proj, b.attn.num_heads, (b.attn.in_proj_weight, b.attn.in_proj_bias)
            first, second, up, down = b.ln_1, b.ln_2, b.mlp.c_fc, b.mlp.c_proj
            scales = [getattr(s, "gamma", 1.0) for s in (b.ls_1, b.ls_2)]
        else:
            b = self.trunk.blocks[layer]
            out, heads, qkv = b.attn.proj, b.attn.num_heads, (b.attn.qkv.weight, b.attn.qkv.bias)
            first, second, up, down = b.norm1, b.norm2, b.mlp.fc1, b.mlp.fc2
            scales = [getattr(s, "gamma", 1.0) for s in (b.ls1, b.ls2)]
        normed = F.layer_norm(x, x.shape[-1:], first.weight, first.bias, first.eps)
        x = x + scales[0] * F.linear(attend(normed, *qkv, heads), out.weight, out.bias)
        normed = F.layer_norm(x, x.shape[-1:], second.weight, second.bias, second.eps)
        hidden = F.gelu(F.linear(normed, up.weight, up.bias))
        return x + scales[1] * F.linear(hidden, down.weight, down.bias)

    def pool(self, image: Tensor, prompts: Tensor, pool: str) -> Tensor:
        v = self.trunk
        norm = v.ln_post if self.is_native else v.norm
        lead = 1 if self.is_native else v.num_prefix_tokens
        kind = v.pool_type if self.is_native else v.global_pool
        pooled_image = image if not self.is_native and v.pool_include_prefix else image[:, lead:]
        if v.attn_pool is not None:  # the library's own, given a set of tokens
            seen = {"exclude": [image], "include": [image, prompts], "only": [prompts]}[pool]
            pooled = v.attn_pool(norm(torch.cat(seen, 1)) if not self.is_native else torch.cat(seen, 1))
            return norm(pooled)[:, 0] @ v.proj if self.is_native else v.head(pooled)
        seen = {"exclude": [pooled_image], "include": [pooled_image, prompts], "only": [prompts]}[pool]
        if kind in ("tok", "token") and pool != "only":
            pooled = norm(image[:, 0])
        elif self.is_native and v.final_ln_after_pool:
            pooled = norm(torch.cat(seen, 1).mean(1))
        else:
            pooled = norm(torch.cat(seen, 1)).mean(1)
        if self.is_native:
            return pooled @ v.proj
        pooled = v.head(v.fc_norm(pooled))
        return self.visual.head(pooled) if self.visual is not v else pooled

    def __call__(self, images: Tensor, prompt: VisualPrompt) -> Tensor:
        image = self.embed(images)
        prompts = image[:, :0]
        layers = len(self.visual.transformer.resblocks) if self.is_native else len(self.trunk.blocks)
        for layer in range(layers):
            if layer in prompt.tokens:
                new = prompt.tokens[layer]
                if prompt.place == "embed" and layer == 0:
                    new = self.pre_norm(new)
                new = new if new.ndim == 3 else torch.stack([new] * len(images))
                prompts = new if prompt.spread == "replace" else torch.cat([prompts, new], 1)
            x = self.block(layer, torch.cat([prompts, image], dim=1))
            prompts, image = x[:, : prompts.shape[1]], x[:, prompts.shape[1] :]
        return self.pool(image, prompts, prompt.pool)


def tokens(visual: Any, *lengths: int, images: int = 0, first: int = 0) -> dict[int, Tensor]:
    """Learned tokens (P, D), or (B, P, D), for some layers."""
    width = ImageTokens(visual).width
    generator = torch.Generator().manual_seed(2)
    shapes = [(images, n, width) if images else (n, width) for n in lengths]
    drawn = (torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes)
    return dict(enumerate(drawn, start=first))


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
def test_features_and_gradients_are_those_of_a_plain_restatement(visual: Any, kind: str) -> None:
    images, prompt = images_for(visual), PROMPTS[kind](visual)
    got, wanted = ImageTokens(visual)(images, prompt), Plain(visual)(images, prompt)
    assert got.shape == wanted.shape
    assert torch.allclose(got, wanted, rtol=1e-10, atol=1e-10)
    own, plain = (torch.autograd.grad(x.sin().sum(), list(prompt.tokens.values())) for x in (got, wanted))
    for a, b in zip(own, plain, strict=True):
        assert a.abs().max() > 1e-6
        assert torch.allclose(a, b, rtol=1e-8, atol=1e-8 * float(b.abs().max()))


def test_no_prompt_and_an_empty_one_are_the_librarys_own_forward(visual: Any) -> None:
    images, adapter = images_for(visual), ImageTokens(visual)
    wanted = visual(images)
    wanted = wanted[0] if isinstance(wanted, tuple) else wanted
    empty = torch.zeros(0, adapter.width)
    for prompt in (NONE, VisualPrompt({0: empty, 1: empty}), VisualPrompt({2: empty}, "propagate", "blocks")):
        torch.testing.assert_close(adapter(images, prompt), wanted, rtol=1e-12, atol=1e-12)


def test_an_image_does_not_see_its_batch(visual: Any) -> None:
    images, adapter = images_for(visual), ImageTokens(visual)
    shared, own = VisualPrompt(tokens(visual, 2, 2)), VisualPrompt(tokens(visual, 2, 2, images=3))
    for row in range(3):
        assert torch.allclose(adapter(images[[row]], shared), adapter(images, shared)[[row]], atol=1e-10)
        mine = VisualPrompt({layer: x[[row]] for layer, x in own.tokens.items()})
        assert torch.allclose(adapter(images[[row]], mine), adapter(images, own)[[row]], atol=1e-10)


def test_the_place_and_the_spread_matter() -> None:
    visual = strengthen(native())
    images, learned = images_for(visual), tokens(visual, 2, 2)
    ways = [VisualPrompt(learned, s, p) for s in ("replace", "propagate") for p in ("embed", "blocks")]
    found = [ImageTokens(visual)(images, way).detach() for way in ways]
    assert min(float((a - b).abs().max()) for i, a in enumerate(found) for b in found[:i]) > 1e-3


def test_half_precision_keeps_prompts_and_gradients_in_float32() -> None:
    visual = strengthen(native())
    images, prompt = images_for(visual), VisualPrompt({n: t.detach().float() for n, t in tokens(visual, 2, 2).items()})
    exact = ImageTokens(copy.deepcopy(visual).float())(images.float(), prompt)
    leaf = prompt.tokens[0].requires_grad_()
    rough = ImageTokens(copy.deepcopy(visual).bfloat16())(images.bfloat16(), prompt)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < 0.1 * exact.abs().max()
    rough.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.dtype == torch.float32
    assert leaf.grad.any()


def resnet() -> Any:
    return open_clip.modified_resnet.ModifiedResNet([1, 1, 1, 1], 16, 2, image_size=32, width=8)


def swin() -> Any:
    from timm.models.swin_transformer import SwinTransformer

    return SwinTransformer(img_size=32, patch_size=4, embed_dim=16, depths=(1, 1), num_heads=(1, 1), window_size=4)


class Subclass(VisionTransformer):
    """May do anything."""


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "resnet": (resnet, "ModifiedResNet: a ResNet has no sequence of tokens"),
    "convnext": (lambda: timm.create_model("test_convnext"), "ConvNeXt: a convolutional network"),
    "convnext in clip": (lambda: TimmModel("test_convnext", 24, pool="avg"), "ConvNeXt: a convolutional network"),
    "swin": (swin, "SwinTransformer: its attention stays within windows"),
    "unknown": (lambda: nn.Linear(2, 2), "Linear: it is not a plain vision transformer"),
    "subclass": (lambda: Subclass(16, 8, 32, 2, 2, 2.0), "Subclass: it is not a plain vision transformer"),
    "tokens only": (lambda: native(pool_type="none"), "gives tokens, not one feature"),
    "timm tokens only": (lambda: plain_timm(global_pool="", num_classes=0), "gives tokens, not one feature"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_towers_that_take_no_prompts_are_refused_with_the_reason(name: str) -> None:
    make, reason = REFUSED[name]
    with pytest.raises(VlpromptError, match=reason) as caught:
        ImageTokens(make().eval())
    assert "\n" not in str(caught.value)
    assert "'ViT-B-16'" in str(caught.value), "it must say what works instead"


def test_a_tower_that_does_more_than_its_steps_is_refused() -> None:
    visual = strengthen(native())
    visual.register_forward_hook(lambda module, given, out: out + 1)
    with pytest.raises(VlpromptError, match="more than embedding, blocks and pooling"):
        ImageTokens(visual)


def test_a_tower_that_trains_no_prompt_is_refused() -> None:
    visual = strengthen(native())
    for block in visual.transformer.resblocks:
        block.register_forward_hook(lambda module, given, out: out.detach())
    with pytest.raises(VlpromptError, match="gets no gradient"):
        ImageTokens(visual)


def test_hooks_on_blocks_still_see_all_tokens(visual: Any) -> None:
    images, adapter = images_for(visual), ImageTokens(visual)
    wanted, seen = adapter(images, NONE), []
    for block in adapter.tower.blocks:
        block.register_forward_hook(lambda module, given, out: seen.append(out.shape))
    torch.testing.assert_close(adapter(images, NONE), wanted, rtol=1e-12, atol=1e-12)
    places = adapter.tower.embed(images)[1]
    assert len(seen) == sum(not at.matter for at in places)
    assert len(set(seen)) <= 1  # of the last layer all tokens too


def test_prompts_that_do_not_fit_are_refused() -> None:
    visual = strengthen(native())
    images, adapter = images_for(visual), ImageTokens(visual)
    for prompt, reason in [
        (VisualPrompt({3: torch.zeros(2, 32)}), r"layers \[3\].*0 to 2"),
        (VisualPrompt({-1: torch.zeros(2, 32)}), r"layers \[-1\]"),
        (VisualPrompt({0: torch.zeros(2, 24)}), "24 numbers.*have 32"),
        (VisualPrompt({0: torch.zeros(2, 2, 32)}), "for 2 images, the batch has 3"),
        (VisualPrompt({0: torch.zeros(0, 32)}, pool="only"), "there are none"),
    ]:
        with pytest.raises(UsageError, match=reason):
            adapter(images, prompt)
    with pytest.raises(UsageError, match=r"\(32,\)"):
        VisualPrompt({0: torch.zeros(32)})
    with pytest.raises(UsageError, match="did you mean 'replace'"):
        VisualPrompt(spread="replaced")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="pool"):
        VisualPrompt(pool="mean")  # type: ignore[arg-type]


def small_clip(vision: dict[str, Any], double: bool = True) -> Clip:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        text = {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
        model = open_clip.CLIP(24, vision, text)
    tokenizer = Tokenizer(open_clip.SimpleTokenizer(context_length=20), 20)
    model = strengthen(model) if double else model
    return Clip(model, tokenizer, Preprocess(16, (0.5,) * 3, (0.5,) * 3))


VIT = {"image_size": 16, "layers": 3, "width": 32, "head_width": 16, "patch_size": 8}


def test_clip_tells_the_sizes_of_its_towers_and_passes_prompts_on() -> None:
    clip = small_clip(VIT)
    assert (clip.text_width, clip.text_layers, clip.vision_width, clip.vision_layers) == (16, 2, 32, 3)
    images = images_for(clip.model.visual)
    torch.testing.assert_close(clip.encode_image(images), clip.model.encode_image(images), rtol=1e-12, atol=1e-12)
    prompt = VisualPrompt(tokens(clip.model.visual, 2, 2))
    assert torch.equal(clip.encode_image(images, prompt), ImageTokens(clip.model.visual)(images, prompt))
    assert all(parameter.grad is None for parameter in clip.parameters())


def test_a_twin_that_was_made_later_prompts_its_own_modules() -> None:
    clip = small_clip(VIT)
    assert clip.vision_layers == 3  # the tower has been taken apart
    other = twin(clip)
    assert other.image_tokens.tower.visual is other.model.visual
    assert other.image_tokens.tower.visual is not clip.model.visual


def test_a_twin_is_taken_apart_before_anything_is_added_to_it() -> None:
    other = twin(small_clip(VIT))
    for block in other.model.visual.transformer.resblocks:
        block.attn = AdaptedAttention(block.attn, lambda x: torch.randn(*x.shape[:-1], 3 * x.shape[-1]))
    state = torch.random.get_rng_state()
    assert other.in_steps
    assert None not in other.image_tokens.steps
    assert torch.equal(torch.random.get_rng_state(), state), "finding out took random numbers of a training"


def test_a_clip_without_tokens_works_until_it_is_prompted() -> None:
    clip = small_clip({"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}, double=False)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert clip.encode_image(images).shape == (2, 24)
    assert clip.encode_image(images, VisualPrompt()).shape == (2, 24)
    with pytest.raises(VlpromptError, match="ModifiedResNet"):
        clip.encode_image(images, VisualPrompt({0: torch.zeros(1, 8)}))
    with pytest.raises(VlpromptError, match="ModifiedResNet"):
        _ = clip.vision_width


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_attention_by_a_few_images_is_torchs(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    random = torch.Generator().manual_seed(2)
    q, k, v = (torch.randn(5, 3, n, 8, generator=random).to(dtype).requires_grad_() for n in (4, 7, 7))
    bias = torch.randn(1, 3, 4, 7, generator=random).to(dtype)
    allowed = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.05}[dtype]
    for at_once in (1, 2 * 3 * 4 * 7, 2**20):
        monkeypatch.setattr(image_layers, "WEIGHTS_AT_ONCE", at_once)
        for mask in (None, bias):
            found, wanted = attention(q, k, v, mask), F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            own, plain = (torch.autograd.grad(each.square().sum(), (q, k, v)) for each in (found, wanted))
            for a, b in zip((found, *own), (wanted, *plain), strict=True):
                torch.testing.assert_close(a, b, rtol=allowed, atol=allowed * float(b.detach().abs().max()))


def test_attention_to_very_many_tokens_keeps_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_layers, "MOST_KEYS", 6)
    q, k = torch.randn(2, 1, 3, 4, requires_grad=True), torch.randn(2, 1, 7, 4)
    assert "ScaledDotProduct" in type(attention(q, k, k).grad_fn).__name__
    assert attention(q, k[:, :, :6], k[:, :, :6]).grad_fn.name() == "CatBackward0"
