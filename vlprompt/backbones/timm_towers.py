"""Transformers of timm divided into embedding, blocks and pooling; one short class for each way timm builds them."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from vlprompt.backbones.image_layers import Positions


class TimmTower:
    """The steps of a plain ViT of timm (`VisionTransformer`, distilled or not), alone or inside open_clip with a head.

    Attributes:
        lead: Number of tokens before the patches: class token, registers.
        reads: Pooling reads the first `reads` tokens only; None if it reads others too.
        blocks: Its layers.
        width: D, the width of a token.
        size: Height and width of the images it was built for.
    """

    def __init__(self, trunk: Any, head: nn.Module) -> None:
        self.trunk, self.head = trunk, head
        self.lead = int(trunk.num_prefix_tokens)
        by_token = trunk.global_pool == "token" and getattr(trunk, "attn_pool", None) is None
        self.reads: int | None = (1 if getattr(trunk, "dist_token", None) is None else 2) if by_token else None
        self.blocks: Sequence[nn.Module] = trunk.blocks
        self.width = int(trunk.embed_dim)
        embed = getattr(trunk, "patch_embed", None)
        height, width = trunk.pretrained_cfg["input_size"][1:] if embed is None else embed.img_size
        self.size = int(height), int(width)

    @property
    def patch(self) -> tuple[int, int]:
        """Height and width of a patch, in pixels of the image."""
        embed = self.trunk.embeds if hasattr(self.trunk, "embeds") else self.trunk.patch_embed
        ratio = embed.feat_ratio(as_scalar=False)
        return int(ratio[0]), int(ratio[1])

    @property
    def recompute(self) -> bool:
        """Whether the user enabled gradient checkpointing: layers then store only their input."""
        return bool(self.trunk.grad_checkpointing)

    def embed(self, images: Tensor) -> tuple[Tensor, Sequence[Positions]]:
        """(B, 3, H, W) -> (B, N, D) after the pre-norm, and each layer's position information."""
        x = self.trunk._pos_embed(self.trunk.patch_embed(images))
        return self.trunk.norm_pre(self.trunk.patch_drop(x)), self._positions()

    def pre_norm(self, tokens: Tensor) -> Tensor:
        """(..., D) -> (..., D), for each token independently."""
        return self.trunk.norm_pre(tokens) if hasattr(self.trunk, "norm_pre") else tokens

    def block(self, layer: int, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D), by the library's own block, without positions."""
        return self.blocks[layer](x)  # type: ignore[no-any-return]

    def last_norm(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D), the norm before pooling."""
        return self.trunk.norm(x)  # type: ignore[no-any-return]

    def pool(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, E), as in the library."""
        return self.head(self.trunk.forward_head(self.last_norm(x)))  # type: ignore[no-any-return]

    def pool_prompts(self, prompts: Tensor) -> Tensor:
        """(B, P, D) -> (B, E): attention over the prompts if the tower pools by attention, else their mean."""
        trunk, prompts = self.trunk, self.last_norm(prompts)
        if getattr(trunk, "attn_pool", None) is not None:
            pooled = trunk.fc_norm(trunk.attn_pool(prompts))
            return self.head(trunk.head(trunk.head_drop(pooled)))  # type: ignore[no-any-return]
        means = prompts.mean(dim=1, keepdim=True).expand(-1, self.lead + 1, -1)  # the mean at every token that is read
        return self.head(trunk.forward_head(means))  # type: ignore[no-any-return]

    def _positions(self, rope: Any = None, *, mixed: bool = False) -> list[Positions]:
        """Each layer's positions, given the rotation; `mixed`: one rotation per layer."""
        if mixed and rope is not None:
            return [Positions(self.lead, rope[layer]) for layer in range(len(self.blocks))]
        return [Positions(self.lead, rope)] * len(self.blocks)


@final
class EvaTower(TimmTower):
    """Eva, EVA-02, PE, DINOv3 and ViT-RoPE: rotary positions, shared by all layers or one per layer."""

    def embed(self, images: Tensor) -> tuple[Tensor, Sequence[Positions]]:
        """(B, 3, H, W) -> (B, N, D), and the rotation of each layer."""
        x, rope = self.trunk._pos_embed(self.trunk.patch_embed(images))
        return self.trunk.norm_pre(x), self._positions(rope, mixed=self.trunk.rope_mixed)


@final
class NaFlexTower(TimmTower):
    """NaFlexVit on images of one size."""

    def embed(self, images: Tensor) -> tuple[Tensor, Sequence[Positions]]:
        """(B, 3, H, W) -> (B, N, D), and the rotation of each layer."""
        embedded = self.trunk._forward_embeds(images, None, None, None)
        return embedded["patches"], self._positions(embedded["rope_embeds"], mixed=self.trunk.rope_is_mixed)


@final
class BeitTower(TimmTower):
    """BEiT and BEiT v2: a bias for every pair of positions, shared by all layers or one per layer."""

    def embed(self, images: Tensor) -> tuple[Tensor, Sequence[Positions]]:
        """(B, 3, H, W) -> (B, N, D), and the bias of each layer."""
        trunk = self.trunk
        x = trunk.patch_embed(images)
        x = torch.cat([trunk.cls_token.expand(len(x), -1, -1), x], dim=1)
        x = trunk.pos_drop(x if trunk.pos_embed is None else x + trunk.pos_embed)
        shared = None if trunk.rel_pos_bias is None else trunk.rel_pos_bias()[None]
        return x, [Positions(self.lead, bias=_sum(self._own_bias(block), shared)) for block in self.blocks]

    @staticmethod
    def _own_bias(block: Any) -> Tensor | None:
        table = block.attn.relative_position_bias_table
        return None if table is None else block.attn._get_rel_pos_bias()


@final
class RelPosTower(TimmTower):
    """ViTs with relative positions, shared by all layers or one per layer."""

    def embed(self, images: Tensor) -> tuple[Tensor, Sequence[Positions]]:
        """(B, 3, H, W) -> (B, N, D), and the bias of each layer."""
        trunk = self.trunk
        x = trunk.patch_embed(images)
        if trunk.cls_token is not None:
            x = torch.cat([trunk.cls_token.expand(len(x), -1, -1), x], dim=1)
        shared = trunk.shared_rel_pos
        biases = [block.attn.rel_pos or shared for block in trunk.blocks]
        return x, [Positions(self.lead, bias=None if bias is None else bias.get_bias()) for bias in biases]


@final
class CaitTower(TimmTower):
    """CaiT: the class token enters after the last layer, through attention over all patches."""

    def __init__(self, trunk: Any, head: nn.Module) -> None:
        super().__init__(trunk, head)
        self.lead, self.reads = 0, None

    def embed(self, images: Tensor) -> tuple[Tensor, Sequence[Positions]]:
        """(B, 3, H, W) -> (B, N, D)."""
        return self.trunk.pos_drop(self.trunk.patch_embed(images) + self.trunk.pos_embed), self._positions()

    def last_norm(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, 1 + N, D), with the class token, after the norm."""
        return self.trunk.norm(self.trunk.forward_cls(x))  # type: ignore[no-any-return]

    def pool_prompts(self, prompts: Tensor) -> Tensor:
        """(B, P, D) -> (B, E): the class token attends to the prompts only."""
        return self.pool(prompts)


TOWERS: dict[str, type[TimmTower]] = {
    "timm.models.vision_transformer.VisionTransformer": TimmTower,
    "timm.models.deit.VisionTransformerDistilled": TimmTower,
    "timm.models.eva.Eva": EvaTower,
    "timm.models.naflexvit.NaFlexVit": NaFlexTower,
    "timm.models.beit.Beit": BeitTower,
    "timm.models.vision_transformer_relpos.VisionTransformerRelPos": RelPosTower,
    "timm.models.cait.Cait": CaitTower,
}


def timm_tower(trunk: nn.Module, head: nn.Module) -> TimmTower | None:
    """The steps of a transformer of timm; None for an unsupported class (a subclass may compute something else)."""
    kind = TOWERS.get(f"{type(trunk).__module__}.{type(trunk).__name__}")
    return None if kind is None else kind(trunk, head)


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """The sum of those that are not None."""
    return b if a is None else a if b is None else a + b
