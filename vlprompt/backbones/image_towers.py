"""Image towers divided into embedding, blocks and pooling, so that prompt tokens can enter between the steps.

Every step is the library's own module; only their order is written here.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from vlprompt.backbones.image_layers import Positions
from vlprompt.backbones.timm_towers import TimmTower, timm_tower
from vlprompt.errors import VlpromptError

# Why towers of these classes take no prompt tokens. Any other class is refused as "not a plain vision transformer".
REASONS = {
    "a ResNet has no sequence of tokens": ("ModifiedResNet", "ResNet"),
    "a convolutional network has no sequence of tokens": ("ConvNeXt",),
    "most of it is a convolutional network, without a sequence of tokens": ("FastVit",),
    "its attention stays within windows": (
        *("SwinTransformer", "SwinTransformerV2", "SwinTransformerV2Cr", "GlobalContextVit", "DaVit"),
        *("VisionTransformerSAM", "MaxxVit", "Twins"),
    ),
    "its attention stays within blocks of the image": ("Nest",),
    "it merges tokens by position from stage to stage": (
        *("Hiera", "MultiScaleVit", "PyramidVisionTransformerV2", "CoaT", "PoolingVisionTransformer"),
        *("LevitDistilled", "Levit"),
    ),
    "its first layers attend around each position of the image": ("VOLO",),
    "its layers filter the patches as an image": ("Xcit",),
    "its attention is a function of the patches' positions": ("ConVit",),
    "it has two sequences of tokens": ("CrossVit",),
    "it mixes tokens by position, so none can be added": ("MlpMixer",),
    "it has a sequence of tokens within each patch": ("TNT",),
}


class NativeTower:
    """The steps of open_clip's own VisionTransformer; attributes and methods as in `TimmTower`."""

    lead = 1

    def __init__(self, visual: Any) -> None:
        self.visual = visual
        self.reads = 1 if visual.attn_pool is None and visual.pool_type == "tok" else None
        self.size: tuple[int, int] = visual.image_size
        self.patch: tuple[int, int] = visual.patch_size
        self.blocks: Sequence[nn.Module] = visual.transformer.resblocks
        self.width = int(visual.class_embedding.shape[-1])

    @property
    def recompute(self) -> bool:
        """Whether the user enabled gradient checkpointing."""
        return bool(self.visual.transformer.grad_checkpointing)

    def embed(self, images: Tensor) -> tuple[Tensor, Sequence[Positions]]:
        """(B, 3, H, W) -> (B, N, D)."""
        return self.visual._embeds(images), [Positions(self.lead)] * len(self.blocks)

    def pre_norm(self, tokens: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.visual.ln_pre(tokens)  # type: ignore[no-any-return]

    def block(self, layer: int, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        if getattr(self.visual.transformer, "batch_first", True):
            return self.blocks[layer](x)  # type: ignore[no-any-return]
        return self.blocks[layer](x.transpose(0, 1)).transpose(0, 1)  # type: ignore[no-any-return]

    def last_norm(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return x if self.visual.final_ln_after_pool else self.visual.ln_post(x)

    def pool(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, E)."""
        return self._project(self.visual._pool(x)[0])

    def pool_prompts(self, prompts: Tensor) -> Tensor:
        """(B, P, D) -> (B, E)."""
        if self.visual.attn_pool is not None:
            return self.pool(prompts)
        if self.visual.final_ln_after_pool:
            return self._project(self.visual.ln_post(prompts.mean(dim=1)))
        return self._project(self.visual.ln_post(prompts).mean(dim=1))

    def _project(self, x: Tensor) -> Tensor:
        return x if self.visual.proj is None else x @ self.visual.proj


Tower = NativeTower | TimmTower


def steps_of(visual: nn.Module) -> Tower:
    """The steps of a tower; VlpromptError, with the reason, if its exact class is not supported."""
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    tower: Any = visual
    if type(visual) is VisionTransformer:
        if tower.pool_type == "none":
            raise refusal(visual, "it returns tokens, not one feature")
        return NativeTower(visual)
    trunk, head = (tower.trunk, tower.head) if type(visual) is TimmModel else (tower, nn.Identity())
    steps = timm_tower(trunk, head)
    if steps is None:
        known = (reason for reason, classes in REASONS.items() if type(trunk).__name__ in classes)
        raise refusal(trunk, next(known, "it is not a plain vision transformer"))
    if getattr(trunk, "attn_pool", None) is None and not trunk.global_pool:
        raise refusal(trunk, "it returns tokens, not one feature")
    return steps


def refusal(tower: nn.Module, reason: str) -> VlpromptError:
    """The error for a tower that cannot take prompt tokens."""
    return VlpromptError(
        f"prompts cannot enter the image tower {type(tower).__name__}: {reason}. Use a model with a plain vision "
        "transformer, such as 'ViT-B-16' or 'timm:vit_base_patch16_224', or a method that does not prompt images."
    )
