"""A plain float64 reimplementation of image towers with prompts, to compare `ImageTokens` with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import open_clip
import timm
import torch
import torch.nn.functional as F
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.backbones.image_tokens import ImageTokens
from vlprompt.backbones.prompt_types import VisualPrompt
from vlprompt.backbones.tokens import Tokenizer
from vlprompt.data.transforms import Preprocess

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
    """Random float64 weights with which every part changes the output."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in visual.double().parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        wide = parameter.ndim > 1 and parameter.shape[0] > 1
        parameter.data = noise * 1.5 / parameter[0].numel() ** 0.5 if wide else 0.5 * noise + (parameter.ndim == 1)
    return visual.requires_grad_(False).eval()


def tower_images(visual: Any, count: int = 3) -> Tensor:
    side = ImageTokens(visual).tower.size[0]
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def attend(x: Tensor, weight: Tensor, bias: Tensor, heads: int) -> Tensor:
    """Self-attention of (B, N, D) tokens, one head at a time."""
    q, k, v = F.linear(x, weight, bias).chunk(3, dim=-1)
    depth, parts = x.shape[-1] // heads, []
    for head in range(heads):
        mine = slice(head * depth, (head + 1) * depth)
        scores = q[..., mine] @ k[..., mine].mT / depth**0.5
        parts.append(scores.softmax(dim=-1) @ v[..., mine])
    return torch.cat(parts, dim=-1)


@dataclass
class Plain:
    """A tower with image and prompts as separate tensors, which meet in attention only, where order is irrelevant."""

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


VIT = {"image_size": 16, "layers": 3, "width": 32, "head_width": 16, "patch_size": 8}


def small_clip(vision: dict[str, Any], double: bool = True) -> Clip:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        text = {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
        model = open_clip.CLIP(24, vision, text)
    tokenizer = Tokenizer(open_clip.SimpleTokenizer(context_length=20), 20)
    model = strengthen(model) if double else model
    return Clip(model, tokenizer, Preprocess(16, (0.5,) * 3, (0.5,) * 3))
