"""Image towers taken apart into embed, blocks and pool, so that prompt tokens can enter between them.

Every step is the library's own module; only the order of the steps is spelled out here.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from vlprompt.backbones.image_layers import Positions
from vlprompt.backbones.timm_towers import timm_tower
from vlprompt.errors import VlpromptError

# Why towers of these classes take no prompt tokens; of any other it is only known that they are not plain.
NO_TOKENS = "a convolutional network has no sequence of tokens"
REASONS = {
    "ModifiedResNet": "a ResNet has no sequence of tokens",
    "ResNet": "a ResNet has no sequence of tokens",
    "ConvNeXt": NO_TOKENS,
    "FastVit": "most of it is a convolutional network, without a sequence of tokens",
    "SwinTransformer": "its attention stays within windows",
    "SwinTransformerV2": "its attention stays within windows",
    "SwinTransformerV2Cr": "its attention stays within windows",
    "GlobalContextVit": "its attention stays within windows",
    "DaVit": "its attention stays within windows",
    "VisionTransformerSAM": "its attention stays within windows",
    "MaxxVit": "its attention stays within windows",
    "Twins": "its attention stays within windows",
    "Nest": "its attention stays within blocks of the image",
    "Hiera": "it joins tokens by their places from stage to stage",
    "MultiScaleVit": "it joins tokens by their places from stage to stage",
    "PyramidVisionTransformerV2": "it joins tokens by their places from stage to stage",
    "CoaT": "it joins tokens by their places from stage to stage",
    "PoolingVisionTransformer": "it joins tokens by their places from stage to stage",
    "LevitDistilled": "it joins tokens by their places from stage to stage",
    "Levit": "it joins tokens by their places from stage to stage",
    "VOLO": "its first layers attend around each place of the image",
    "Xcit": "its layers filter the patches as an image",
    "ConVit": "its attention is a function of the patches' places",
    "CrossVit": "it has two sequences of tokens",
    "MlpMixer": "it mixes tokens by their places, so there is none to spare",
    "TNT": "it has a sequence of tokens within each patch",
}


class Tower(Protocol):
    """The steps of an image tower; N tokens of width D, E features.

    Attributes:
        lead: Tokens in front of the patches: class token, registers.
        reads: How many of the first tokens pooling looks at; None where it looks at others too.
    """

    lead: int
    reads: int | None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images it is made for."""

    @property
    def patch(self) -> tuple[int, int]:
        """Height and width of a patch."""

    @property
    def recompute(self) -> bool:
        """Whether layers keep only their input for the backward pass and are computed again there."""

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """Its layers."""

    @property
    def width(self) -> int:
        """D."""

    def embed(self, images: Tensor) -> tuple[Tensor, Sequence[Positions]]:
        """(B, 3, H, W) -> (B, N, D) after the pre-norm, and what each layer knows of positions."""

    def pre_norm(self, tokens: Tensor) -> Tensor:
        """(..., D) -> (..., D), token by token: a prompt need not stand among the others for it."""

    def block(self, layer: int, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D), by the library's own block, positions left aside."""

    def last_norm(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D), the norm that tokens get before pooling, where it is not after."""

    def pool(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, E), as the library does it."""

    def pool_prompts(self, prompts: Tensor) -> Tensor:
        """(B, P, D) -> (B, E): attention over the prompts where the tower pools so, else their mean."""


class NativeTower:
    """open_clip's own VisionTransformer."""

    lead = 1

    def __init__(self, visual: Any) -> None:
        self.visual = visual
        self.reads = 1 if visual.attn_pool is None and visual.pool_type == "tok" else None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images it is made for."""
        return self.visual.image_size  # type: ignore[no-any-return]

    @property
    def patch(self) -> tuple[int, int]:
        """Height and width of a patch."""
        return self.visual.patch_size  # type: ignore[no-any-return]

    @property
    def recompute(self) -> bool:
        """Whether the user asked for gradient checkpointing."""
        return bool(self.visual.transformer.grad_checkpointing)

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """Its layers."""
        return self.visual.transformer.resblocks  # type: ignore[no-any-return]

    @property
    def width(self) -> int:
        """D."""
        return int(self.visual.class_embedding.shape[-1])

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


def steps_of(visual: nn.Module) -> Tower:
    """The steps of a tower whose very class is known; a subclass may do anything.

    Raises:
        VlpromptError: It cannot take prompt tokens; the message says why.
    """
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    tower: Any = visual
    if type(visual) is VisionTransformer:
        if tower.pool_type == "none":
            raise refusal(visual, "it gives tokens, not one feature")
        return NativeTower(visual)
    trunk, head = (tower.trunk, tower.head) if type(visual) is TimmModel else (tower, nn.Identity())
    taken = timm_tower(trunk, head)
    if taken is None:
        raise refusal(trunk, REASONS.get(type(trunk).__name__, "it is not a plain vision transformer"))
    if getattr(trunk, "attn_pool", None) is None and not trunk.global_pool:
        raise refusal(trunk, "it gives tokens, not one feature")
    return taken


def refusal(tower: nn.Module, reason: str) -> VlpromptError:
    """The error for a tower that cannot take prompt tokens."""
    return VlpromptError(
        f"prompts cannot enter the image tower {type(tower).__name__}: {reason}. Use a model with a plain vision "
        "transformer, such as 'ViT-B-16' or 'timm:vit_base_patch16_224', or a method that leaves the image tower alone."
    )
