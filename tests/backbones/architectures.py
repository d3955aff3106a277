"""The supported and refused vision transformers of timm, as small random models in which every part matters."""

import copy
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cache
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.backbones.image_tokens import ImageTokens

SIZES = {"depth": 2, "embed_dim": 48, "num_heads": 3, "img_size": 32}
FOURTEEN = {**SIZES, "img_size": 28}  # patches of 14 pixels
NAFLEX_ROPE = {"rope_type": "axial", "attn_type": "rope", **SIZES}
SECTIONS = (2, 3, 3)  # of a head's 16 numbers, for time, height and width

# Description: a model of timm and the options changed for the test. docs/backbones.md lists them.
WORKING: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("vit_base_patch16_224", SIZES),
    "pre-norm (CLIP)": ("vit_base_patch16_clip_224", SIZES),
    "no prefix, attention pool (SigLIP)": ("vit_base_patch16_siglip_224", SIZES),
    "5 prefix tokens (DINOv2 reg4)": ("vit_small_patch14_reg4_dinov2", FOURTEEN),
    "4 prefix tokens, mean": ("vit_little_patch16_reg4_gap_256", SIZES),
    "2 prefix tokens, two heads (DeiT distilled)": ("deit_tiny_distilled_patch16_224", SIZES),
    "positions without class (DeiT III)": ("deit3_small_patch16_224", SIZES),
    "no prefix, mean": ("vit_medium_patch16_gap_256", SIZES),
    "hybrid, mobile (MCI)": ("vit_base_mci_224", {**SIZES, "embed_dim": 768}),
    "hybrid": ("vit_small_r26_s32_224", {**SIZES, "img_size": 64}),
    "parallel scaling, pre-norm": ("vit_base_patch16_xp_224", SIZES),
    "differential attention": ("vit_dlittle_patch16_reg1_gap_256", {**SIZES, "num_heads": 2}),
    "differential, parallel": ("vit_dpwee_patch16_reg1_gap_256", {**SIZES, "num_heads": 2}),
    "36x1": ("vit_small_patch16_36x1_224", SIZES),
    "18x2": ("vit_small_patch16_18x2_224", SIZES),
    "post-norm": ("vit_base_patch16_rpn_224", SIZES),
    "InternViT": ("vit_intern300m_patch14_448", FOURTEEN),
    "AIMv2": ("aimv2_large_patch14_224", FOURTEEN),
    "FlexiViT": ("flexivit_small", SIZES),
    "test_vit": ("test_vit", {"img_size": 32}),
    "registers, mean": ("test_vit2", {"img_size": 32}),
    "registers, attention pool": ("test_vit3", {"img_size": 32}),
    "query and key norms": ("test_vit4", {"img_size": 32}),
    "norms of queries, keys and output": ("vit_base_patch16_224", {**SIZES, "qk_norm": True, "scale_attn_norm": True}),
    "mean of all tokens": ("vit_base_patch16_224", {**SIZES, "global_pool": "avg", "pool_include_prefix": True}),
    "mean and maximum": ("vit_base_patch16_224", {**SIZES, "global_pool": "avgmax"}),
    "attention among all tokens (PRR)": ("vit_base_patch16_224", {**SIZES, "global_pool": "prr"}),
    "no last norm": ("vit_base_patch16_224", {**SIZES, "final_norm": False}),
    "last norm after the pool": ("vit_base_patch16_224", {**SIZES, "fc_norm": True}),
    "norm inside the MLP": ("vit_base_patch16_224", {**SIZES, "scale_mlp_norm": True}),
    "gated MLP (DINOv2 giant)": ("vit_giant_patch14_dinov2", FOURTEEN),
    "maximum": ("vit_base_patch16_224", {**SIZES, "global_pool": "max"}),
    "any size of image": ("vit_base_patch16_224", {**SIZES, "dynamic_img_size": True}),
    "ViTamin": ("vitamin_small_224", {"img_size": 32}),
    "EVA": ("eva_giant_patch14_224", FOURTEEN),
    "NaFlex, 4 prefix tokens": ("naflexvit_base_patch16_gap", SIZES),
    "NaFlex, attention pool": ("naflexvit_base_patch16_map", SIZES),
    "NaFlex, rotary": ("naflexvit_base_patch16_gap", NAFLEX_ROPE),
    "NaFlex, mixed rotary": ("naflexvit_base_patch16_gap", {**NAFLEX_ROPE, "rope_type": "mixed"}),
    "NaFlex, class token": ("naflexvit_base_patch16_gap", {**SIZES, "class_token": True, "global_pool": "token"}),
    "NaFlex, rotary, gate": ("naflexvit_base_patch16_gap", {**NAFLEX_ROPE, "attn_gated": True}),
    "NaFlex, rotary, gate, grouped queries": (
        "naflexvit_base_patch16_gap",
        {**NAFLEX_ROPE, "num_heads": 4, "num_kv_heads": 2, "attn_gated": True, "qkv_fused": False},
    ),
    "NaFlex, rotary in sections": (
        "naflexvit_base_patch16_gap",
        {**NAFLEX_ROPE, "rope_type": "mrope", "rope_mrope_section": SECTIONS},
    ),
    "CaiT": ("cait_xxs24_224", SIZES),
    "rotary (EVA-02)": ("eva02_tiny_patch14_224", FOURTEEN),
    "rotary, post-norm": ("eva02_enormous_patch14_clip_224", {**FOURTEEN, "use_rot_pos_emb": True}),
    "rotary, attention pool (PE-Core)": ("vit_pe_core_tiny_patch16_384", SIZES),
    "rotary, 5 prefix tokens (DINOv3)": ("vit_small_patch16_dinov3", SIZES),
    "rotary": ("vit_small_patch16_rope_224", SIZES),
    "rotary, one per layer": ("vit_small_patch16_rope_mixed_224", SIZES),
    "rotary and absolute": ("vit_small_patch16_rope_ape_224", SIZES),
    "rotary, halves rotated": ("vit_small_patch16_rope_224", {**SIZES, "rope_rotate_half": True}),
    "rotary in sections": (
        "vit_small_patch16_rope_224",
        {**SIZES, "rope_type": "mrope", "rope_grid_indexing": "ij", "rope_mrope_section": SECTIONS},
    ),
    "rotary, query and key norms": ("vit_small_patch16_rope_224", {**SIZES, "qk_norm": True}),
    "rotary, registers, layer scale": (
        "vit_small_patch16_rope_224",
        {**SIZES, "num_reg_tokens": 4, "init_values": 0.5},
    ),
    "rotary, layer scale of attention alone": (
        "eva02_tiny_patch14_224",
        {**FOURTEEN, "init_values": 0.5, "attn_only_layer_scale": True},
    ),
    "rotary, norm of the heads' output": ("eva02_tiny_patch14_224", {**FOURTEEN, "scale_attn_inner": True}),
    "rotary, grouped queries": (
        "vit_small_patch16_rope_224",
        {**SIZES, "num_heads": 4, "num_kv_heads": 2, "qkv_fused": False},
    ),
    "BEiT": ("beit_base_patch16_224", SIZES),
    "BEiT, shared bias": ("beit_base_patch16_224", {**SIZES, "use_shared_rel_pos_bias": True}),
    "BEiT v2": ("beitv2_base_patch16_224", SIZES),
    "relative positions": ("vit_relpos_small_patch16_224", SIZES),
    "relative positions, class token": ("vit_relpos_medium_patch16_cls_224", SIZES),
    "relative positions from a network": ("vit_relpos_small_patch16_224", {**SIZES, "rel_pos_type": "mlp"}),
    "relative positions, shared": ("vit_srelpos_small_patch16_224", SIZES),
    "relative positions, post-norm": ("vit_relpos_base_patch32_plus_rpn_256", {**SIZES, "img_size": 64}),
}
# A model of timm: part of the reason why it takes no prompt tokens.
REFUSED = {
    "samvit_base_patch16": "attention stays within windows",
    "swin_tiny_patch4_window7_224": "attention stays within windows",
    "maxvit_tiny_tf_224": "attention stays within windows",
    "twins_svt_small": "attention stays within windows",
    "hiera_tiny_224": "from stage to stage",
    "mvitv2_tiny": "from stage to stage",
    "pit_ti_224": "from stage to stage",
    "levit_128": "from stage to stage",
    "tnt_s_patch16_224": "within each patch",
    "xcit_nano_12_p16_224": "filter the patches",
    "convit_tiny": "function of the patches' positions",
    "crossvit_9_240": "two sequences",
    "nest_tiny": "within blocks of the image",
    "volo_d1_224": "around each position",
    "convnext_atto": "a convolutional network",
    "swinv2_tiny_window8_256": "attention stays within windows",
    "swinv2_cr_tiny_224": "attention stays within windows",
    "gcvit_xxtiny": "attention stays within windows",
    "davit_tiny": "attention stays within windows",
    "pvt_v2_b0": "from stage to stage",
    "coat_tiny": "from stage to stage",
    "mixer_s32_224": "mixes tokens by position",
    "resnet18": "a ResNet",
    "fastvit_t8": "most of it is a convolutional network",
}


@cache
def model(name: str) -> Any:
    """A model with 7 classes in float64."""
    timms, options = WORKING[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = timm.create_model(timms, num_classes=7, **options)
    made.pretrained_cfg = {**made.pretrained_cfg, "input_size": (3, options["img_size"], options["img_size"])}
    return strengthened(made)


@cache
def tokens_of(name: str) -> ImageTokens:
    """The same model, opened for prompts."""
    return ImageTokens(model(name))


def strengthened(made: Any) -> Any:
    """Random float64 weights with which every part changes the output."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in made.double().named_parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        wide = parameter.ndim > 1 and not any(part in name for part in ("token", "embed.", "pos_embed", "bias_table"))
        plain = 0.5 * noise + (parameter.ndim == 1 and name.endswith("weight"))
        parameter.data = noise * 1.5 / parameter[0].numel() ** 0.5 if wide else plain
    return made.requires_grad_(False).eval()


def by_hooks(made: Any, images: Tensor, tokens: Mapping[int, Tensor], *, strip: bool = True) -> Tensor:
    """The library's own forward with prompts (P, D) in the sequence, inserted and removed by hooks on its blocks.

    The library's positions are adapted: a rotation skips the prompts, a bias has zeros for them.
    """
    held, lead = len(tokens[0]), 0 if type(made).__name__ == "Cait" else made.num_prefix_tokens
    made = copy.deepcopy(made)
    entered = False

    def enter(layer: int) -> Any:
        def hook(_: Any, given: tuple[Tensor, ...], options: dict[str, Any]) -> Any:
            nonlocal entered
            x = given[0]
            rest = x[:, lead + held * entered :]
            entered = True
            x = torch.cat([x[:, :lead], tokens[layer].expand(len(x), -1, -1), rest], 1)
            return (x, *given[1:]), options

        return hook

    with ExitStack() as hooks:
        for layer, block in enumerate(made.blocks):
            if layer in tokens:
                hooks.enter_context(block.register_forward_pre_hook(enter(layer), with_kwargs=True))
            _adapt_positions(block.attn if hasattr(block, "attn") else None, lead, held)
        for shared in (getattr(made, "rel_pos_bias", None), getattr(made, "shared_rel_pos", None)):
            _adapt_bias(shared, lead, held)
        if strip:
            last = made.blocks[-1]
            hooks.enter_context(
                last.register_forward_hook(lambda _, __, x: torch.cat([x[:, :lead], x[:, lead + held :]], 1))
            )
        return made(images)


def _adapt_positions(attention: Any, lead: int, held: int) -> None:
    """Let a layer's positions skip the prompts."""
    if hasattr(attention, "num_prefix_tokens"):
        attention.num_prefix_tokens = lead + held
    if getattr(attention, "relative_position_bias_table", None) is not None:
        own = attention._get_rel_pos_bias
        attention._get_rel_pos_bias = lambda: _room(own(), lead, held)
    _adapt_bias(getattr(attention, "rel_pos", None), lead, held)


def _adapt_bias(bias: Any, lead: int, held: int) -> None:
    """Let a module's bias leave room for the prompts."""
    if hasattr(bias, "get_bias"):
        own = bias.get_bias
        bias.get_bias = lambda: _room(own(), lead, held)
    elif bias is not None:
        forward = bias.forward
        bias.forward = lambda: _room(forward(), lead, held)


def _room(bias: Tensor, lead: int, held: int) -> Tensor:
    """A bias with zeros for prompts after the leading tokens."""
    count = bias.shape[-1]
    wide = F.pad(bias, (0, held, 0, held))
    order = [*range(lead), *range(count, count + held), *range(lead, count)]
    return wide[..., order, :][..., order]


def images_for(made: Any, count: int = 3, side: int = 0) -> Tensor:
    side = side or made.pretrained_cfg["input_size"][-1]
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def prompts_for(made: Any, *lengths: int, images: int = 0) -> dict[int, Tensor]:
    generator = torch.Generator().manual_seed(2)
    shapes = [(images, n, made.embed_dim) if images else (n, made.embed_dim) for n in lengths]
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return dict(enumerate(each.requires_grad_() for each in drawn))


def assert_same(a: Tensor, b: Tensor, prompts: dict[int, Tensor]) -> None:
    """Two results agree up to rounding in values and in the prompts' gradients, which are not zero."""
    assert a.shape == b.shape
    assert torch.allclose(a, b, rtol=1e-9, atol=1e-9 * float(b.detach().abs().max()))
    ours, theirs = (torch.autograd.grad(x.sin().sum(), list(prompts.values())) for x in (a, b))
    largest = max(float(other.abs().max()) for other in theirs)
    assert largest > 1e-6
    for mine, other in zip(ours, theirs, strict=True):
        assert other.any()
        assert torch.allclose(mine, other, rtol=1e-7, atol=1e-7 * largest)
