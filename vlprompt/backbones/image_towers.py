"""Image towers taken apart into embed, blocks and pool, so that prompt tokens can enter between them.

Every step is the library's own module; only the order of the steps is spelled out here.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from vlprompt.errors import VlpromptError

# Why towers of these classes take no prompt tokens; of any other it is only known that they are not plain.
REASONS = {
    "ModifiedResNet": "a ResNet has no sequence of tokens",
    "ConvNeXt": "a convolutional network has no sequence of tokens",
    "FastVit": "most of it is a convolutional network, without a sequence of tokens",
    "SwinTransformer": "its attention stays within windows",
    "Eva": "its rotary positions leave no place for more tokens",
    "VisionTransformerRelPos": "its relative positions leave no place for more tokens",
    "Beit": "its relative positions leave no place for more tokens",
    "VisionTransformerDistilled": "it is read out by two tokens and two heads",
}


class Tower(Protocol):
    """The steps of an image tower; N tokens of width D, E features.

    Attributes:
        lead: Tokens in front of the patches: class token, registers.
        size: Height and width of the images it is made for.
    """

    lead: int
    size: tuple[int, int]

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """Its layers."""

    @property
    def width(self) -> int:
        """D."""

    def embed(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, N, D), with positions and after the pre-norm."""

    def pre_norm(self, tokens: Tensor) -> Tensor:
        """(..., D) -> (..., D), token by token: a prompt need not stand among the others for it."""

    def block(self, layer: int, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""

    def pool(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, E), as the library does it."""

    def pool_prompts(self, prompts: Tensor) -> Tensor:
        """(B, P, D) -> (B, E): attention over the prompts where the tower pools so, else their mean."""


class NativeTower:
    """open_clip's own VisionTransformer."""

    lead = 1

    def __init__(self, visual: Any) -> None:
        self.visual = visual
        self.size = visual.image_size

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """Its layers."""
        return self.visual.transformer.resblocks  # type: ignore[no-any-return]

    @property
    def width(self) -> int:
        """D."""
        return int(self.visual.class_embedding.shape[-1])

    def embed(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, N, D)."""
        return self.visual._embeds(images)  # type: ignore[no-any-return]

    def pre_norm(self, tokens: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.visual.ln_pre(tokens)  # type: ignore[no-any-return]

    def block(self, layer: int, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        if getattr(self.visual.transformer, "batch_first", True):
            return self.blocks[layer](x)  # type: ignore[no-any-return]
        return self.blocks[layer](x.transpose(0, 1)).transpose(0, 1)  # type: ignore[no-any-return]

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


class TimmTower:
    """A plain ViT of timm, alone or inside open_clip with a head of its own."""

    def __init__(self, trunk: Any, head: nn.Module) -> None:
        self.trunk, self.head = trunk, head
        self.lead = int(trunk.num_prefix_tokens)
        self.size = trunk.patch_embed.img_size

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """Its layers."""
        return self.trunk.blocks  # type: ignore[no-any-return]

    @property
    def width(self) -> int:
        """D."""
        return int(self.trunk.embed_dim)

    def embed(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, N, D)."""
        x = self.trunk._pos_embed(self.trunk.patch_embed(images))
        return self.trunk.norm_pre(self.trunk.patch_drop(x))  # type: ignore[no-any-return]

    def pre_norm(self, tokens: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.trunk.norm_pre(tokens)  # type: ignore[no-any-return]

    def block(self, layer: int, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return self.blocks[layer](x)  # type: ignore[no-any-return]

    def pool(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, E)."""
        return self.head(self.trunk.forward_head(self.trunk.norm(x)))  # type: ignore[no-any-return]

    def pool_prompts(self, prompts: Tensor) -> Tensor:
        """(B, P, D) -> (B, E)."""
        trunk, prompts = self.trunk, self.trunk.norm(prompts)
        pooled = prompts.mean(dim=1) if trunk.attn_pool is None else trunk.attn_pool(prompts)
        return self.head(trunk.head(trunk.head_drop(trunk.fc_norm(pooled))))  # type: ignore[no-any-return]


def steps_of(visual: nn.Module) -> Tower:
    """The steps of a tower whose very class is known; a subclass may do anything.

    Raises:
        VlpromptError: It cannot take prompt tokens; the message says why.
    """
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer
    from timm.models.vision_transformer import VisionTransformer as TimmViT

    tower: Any = visual
    if type(visual) is VisionTransformer:
        if tower.pool_type == "none":
            raise refusal(visual, "it gives tokens, not one feature")
        return NativeTower(visual)
    trunk, head = (tower.trunk, tower.head) if type(visual) is TimmModel else (tower, nn.Identity())
    if type(trunk) is not TimmViT:
        raise refusal(trunk, REASONS.get(type(trunk).__name__, "it is not a plain vision transformer"))
    if trunk.attn_pool is None and not trunk.global_pool:
        raise refusal(trunk, "it gives tokens, not one feature")
    return TimmTower(trunk, head)


def refusal(tower: nn.Module, reason: str) -> VlpromptError:
    """The error for a tower that cannot take prompt tokens."""
    return VlpromptError(
        f"prompts cannot enter the image tower {type(tower).__name__}: {reason}. Use a model with a plain vision "
        "transformer, such as 'ViT-B-16', or a method that prompts the text tower only."
    )
