"""Transformers of timm taken apart into embed, blocks and pool; one short class for each way that timm builds them."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from vlprompt.backbones.image_layers import Positions


class TimmTower:
    """A plain ViT of timm (`VisionTransformer`, distilled or not), alone or inside open_clip with a head of its own."""

    def __init__(self, trunk: Any, head: nn.Module) -> None:
        self.trunk, self.head = trunk, head
        self.lead = int(trunk.num_prefix_tokens)
        by_token = trunk.global_pool == "token" and getattr(trunk, "attn_pool", None) is None
        self.reads: int | None = (1 if getattr(trunk, "dist_token", None) is None else 2) if by_token else None

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """Its layers."""
        return self.trunk.blocks  # type: ignore[no-any-return]

    @property
    def width(self) -> int:
        """D."""
        return int(self.trunk.embed_dim)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images it is made for."""
        embed = getattr(self.trunk, "patch_embed", None)
        size = self.trunk.pretrained_cfg["input_size"][1:] if embed is None else embed.img_size
        return int(size[0]), int(size[1])

    @property
    def patch(self) -> tuple[int, int]:
        """Height and width of a patch, as the image is cut for the blocks."""
        embed = self.trunk.embeds if hasattr(self.trunk, "embeds") else self.trunk.patch_embed
        ratio = embed.feat_ratio(as_scalar=False)
        return int(ratio[0]), int(ratio[1])

    @property
    def recompute(self) -> bool:
        """Whether the user asked for gradient checkpointing."""
        return bool(self.trunk.grad_checkpointing)

    def embed(self, images: Tensor) -> tuple[Tensor, Sequence[Positions]]:
        """(B, 3, H, W) -> (B, N, D), and what each layer knows of positions."""
        x = self.trunk._pos_embed(self.trunk.patch_embed(images))
        return self.trunk.norm_pre(self.trunk.patch_drop(x)), self._nowhere()

    def pre_norm(self, tokens: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.trunk.norm_pre(tokens) if hasattr(self.trunk, "norm_pre") else tokens

    def block(self, layer: int, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D), positions left aside."""
        return self.blocks[layer](x)  # type: ignore[no-any-return]

    def last_norm(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D), the norm before pooling."""
        return self.trunk.norm(x)  # type: ignore[no-any-return]

    def pool(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, E)."""
        return self.head(self.trunk.forward_head(self.last_norm(x)))  # type: ignore[no-any-return]

    def pool_prompts(self, prompts: Tensor) -> Tensor:
        """(B, P, D) -> (B, E): attention over the prompts where the tower pools so, else their mean."""
        trunk, prompts = self.trunk, self.last_norm(prompts)
        if getattr(trunk, "attn_pool", None) is not None:
            pooled = trunk.fc_norm(trunk.attn_pool(prompts))
            return self.head(trunk.head(trunk.head_drop(pooled)))  # type: ignore[no-any-return]
        everywhere = prompts.mean(dim=1, keepdim=True).expand(-1, self.lead + 1, -1)  # whatever is read, it is the mean
        return self.head(trunk.forward_head(everywhere))  # type: ignore[no-any-return]

    def _nowhere(self) -> list[Positions]:
        return [Positions(self.lead)] * len(self.blocks)


@final
class EvaTower(TimmTower):
    """Eva, EVA-02, PE, DINOv3 and ViT-RoPE: rotary positions, of all layers or each its own."""

    def embed(self, images: Tensor) -> tuple[Tensor, Sequence[Positions]]:
        """(B, 3, H, W) -> (B, N, D), and the rotation of each layer."""
        x, rope = self.trunk._pos_embed(self.trunk.patch_embed(images))
        return self.trunk.norm_pre(x), self._turned(rope, mixed=self.trunk.rope_mixed)

    def _turned(self, rope: Any, *, mixed: bool) -> list[Positions]:
        if rope is None:
            return self._nowhere()
        return [Positions(self.lead, rope[i] if mixed else rope) for i in range(len(self.blocks))]


@final
class NaFlexTower(TimmTower):
    """NaFlexVit on images of one size."""

    def embed(self, images: Tensor) -> tuple[Tensor, Sequence[Positions]]:
        """(B, 3, H, W) -> (B, N, D), and the rotation of each layer."""
        found = self.trunk._forward_embeds(images, None, None, None)
        rope = found["rope_embeds"]
        if rope is None:
            return found["patches"], self._nowhere()
        ropes = list(rope) if self.trunk.rope_is_mixed else [rope] * len(self.blocks)
        return found["patches"], [Positions(self.lead, each) for each in ropes]


@final
class BeitTower(TimmTower):
    """BEiT and BEiT v2: a bias for every pair of places, of each layer or of all."""

    def embed(self, images: Tensor) -> tuple[Tensor, Sequence[Positions]]:
        """(B, 3, H, W) -> (B, N, D), and the bias of each layer."""
        trunk = self.trunk
        x = trunk.patch_embed(images)
        x = torch.cat([trunk.cls_token.expand(len(x), -1, -1), x], dim=1)
        x = trunk.pos_drop(x if trunk.pos_embed is None else x + trunk.pos_embed)
        shared = None if trunk.rel_pos_bias is None else trunk.rel_pos_bias()[None]
        return x, [Positions(self.lead, bias=_summed(self._own(block), shared)) for block in self.blocks]

    @staticmethod
    def _own(block: Any) -> Tensor | None:
        table = block.attn.relative_position_bias_table
        return None if table is None else block.attn._get_rel_pos_bias()


@final
class RelPosTower(TimmTower):
    """ViTs with relative positions, each layer's own or shared."""

    def embed(self, images: Tensor) -> tuple[Tensor, Sequence[Positions]]:
        """(B, 3, H, W) -> (B, N, D), and the bias of each layer."""
        trunk = self.trunk
        x = trunk.patch_embed(images)
        if trunk.cls_token is not None:
            x = torch.cat([trunk.cls_token.expand(len(x), -1, -1), x], dim=1)
        shared = trunk.shared_rel_pos
        places = [block.attn.rel_pos or shared for block in trunk.blocks]
        return x, [Positions(self.lead, bias=None if place is None else place.get_bias()) for place in places]


@final
class CaitTower(TimmTower):
    """CaiT: the class token enters after the last layer, through attention over all patches."""

    def __init__(self, trunk: Any, head: nn.Module) -> None:
        super().__init__(trunk, head)
        self.lead, self.reads = 0, None

    def embed(self, images: Tensor) -> tuple[Tensor, Sequence[Positions]]:
        """(B, 3, H, W) -> (B, N, D)."""
        return self.trunk.pos_drop(self.trunk.patch_embed(images) + self.trunk.pos_embed), self._nowhere()

    def last_norm(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, 1 + N, D), with the class token, normed."""
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
    """A transformer of timm taken apart; None where its very class is not known (a subclass may do anything)."""
    kind = TOWERS.get(f"{type(trunk).__module__}.{type(trunk).__name__}")
    return None if kind is None else kind(trunk, head)


def _summed(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """The sum of what is there."""
    return b if a is None else a if b is None else a + b
