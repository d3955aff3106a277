"""The models that are measured: their weights are random, which changes no time."""

from typing import Any

import open_clip
import timm
import torch

from vlprompt.backbones import Clip, Vit, load_clip
from vlprompt.backbones.tokens import Tokenizer
from vlprompt.data.transforms import Preprocess

VISION = {"image_size": 32, "layers": 3, "width": 64, "head_width": 32, "patch_size": 16}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 3}


def model(quick: bool) -> Clip:
    """ViT-B/16, or a tiny model of the same architecture."""
    if not quick:
        return load_clip("ViT-B-16", "random")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        small = open_clip.CLIP(64, dict(VISION), dict(TEXT))
    tokenizer = Tokenizer(open_clip.SimpleTokenizer(), 77)
    return Clip(small, tokenizer, Preprocess(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), name="small")


def vit(quick: bool) -> Vit:
    """The ViT-B/16 of timm, or a small one."""
    sizes: dict[str, Any] = {"img_size": 32, "embed_dim": 48, "depth": 3, "num_heads": 3} if quick else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = timm.create_model("vit_base_patch16_224", **sizes)
    side = sizes.get("img_size", 224)
    return Vit(made, Preprocess(side, (0.5,) * 3, (0.5,) * 3), name="vit_base_patch16_224")
