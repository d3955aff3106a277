"""Layers of image towers, rewritten so that prompts can join their attention as keys and values only.

If a prompt's own output is not used (VPT-deep replaces it before the next layer, and class-token pooling never reads
it), only its keys and values matter, and these are the same for all images of a batch: no query, no output projection,
no MLP. The result is exact, gradients included. A layer here runs the library's own modules in the library's order;
`ImageTokens` compares the two at load time.
"""

import abc
from dataclasses import dataclass
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.attention import attend, by_head, finish_block, in_projection, widen_mask
from vlprompt.errors import UsageError

KeysValues = tuple[Tensor, Tensor]  # each (1 or B, H, n, d)
ALL = slice(None)


@dataclass(frozen=True)
class Positions:
    """The position information that attention uses for N image tokens; prompts have no position.

    Attributes:
        lead: Number of tokens before the patches.
        rope: (N - lead, 2d) or (H, N - lead, 2d) sines and cosines that rotate the patches, in timm's format.
        bias: Added to the scores: (1, H, N, N) or a shape that broadcasts to it.
    """

    lead: int = 1
    rope: Tensor | None = None
    bias: Tensor | None = None

    @property
    def used(self) -> bool:
        """Whether attention depends on positions at all."""
        return self.rope is not None or self.bias is not None


class Layer(abc.ABC):
    """A block whose attention accepts further keys and values; x and h are (B, N, D), heads (B, H, N, d).

    The block's parts are looked up at every call, since they may be exchanged (`adapters.py`). The block is in
    evaluation mode, so dropout does nothing.
    """

    def __init__(self, block: Any) -> None:
        self.block = block

    @abc.abstractmethod
    def norm(self, x: Tensor) -> Tensor:
        """The input of attention, from the block's input x."""

    @abc.abstractmethod
    def heads(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values before rotation; keys and values may have fewer heads."""

    @abc.abstractmethod
    def finish(self, x: Tensor, attended: Tensor, h: Tensor) -> Tensor:
        """The block's output from its input x, the heads' output (B, N, H d) and the input of attention h."""

    def __call__(
        self, x: Tensor, positions: Positions, extra: KeysValues | None = None, prompts: int = 0, rows: slice = ALL
    ) -> Tensor:
        """Run the layer.

        Args:
            x: (B, N, D) tokens.
            positions: Positions of the image's tokens.
            extra: Keys and values that join the tokens' own.
            prompts: Number of prompts among the tokens, after the first `positions.lead`.
            rows: Tokens whose outputs are computed; all tokens provide keys and values.

        Returns:
            (B, N', D), the outputs of the rows.
        """
        h = self.norm(x)
        q, k, v = self.heads(h)
        if positions.rope is not None:
            q, k = (self._rotated(each, positions.rope, positions.lead + prompts) for each in (q, k))
        bias = None
        if positions.bias is not None:
            bias = widen_mask(positions.bias, positions.lead, prompts)[..., rows, :].to(q)
        if extra is not None:
            k, v = (torch.cat([e.expand(len(x), *e.shape[1:]), own], 2) for e, own in zip(extra, (k, v), strict=True))
            bias = None if bias is None else F.pad(bias, (extra[0].shape[2], 0))
        groups = q.shape[1] // k.shape[1]
        if groups > 1:
            k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        attended = attend(q[:, :, rows], k, v, bias)
        return self.finish(x[:, rows], attended.transpose(1, 2).flatten(2), h[:, rows])

    def keys_values(self, tokens: Tensor) -> KeysValues:
        """(P, D) or (B, P, D) prompts -> the keys and values they would provide as tokens of the sequence."""
        _, k, v = self.heads(self.norm(_batched(tokens)))
        return k, v

    def split_heads(self, prefix: tuple[Tensor, Tensor], x: Tensor) -> KeysValues:
        """Keys and values, each (n, H d) or (B, n, H d), split by head, with the type of the tokens x (B, N, D)."""
        _, heads, _, depth = self.keys_values(x[:1, :1].detach())[0].shape
        if wrong := {each.shape[-1] for each in prefix} - {heads * depth}:
            raise UsageError(f"the prefix has keys and values of width {wrong.pop()}, the layer has {heads * depth}.")
        keys, values = (by_head(_batched(each).to(x), heads) for each in prefix)
        return keys, values

    def _rotated(self, heads: Tensor, rope: Tensor, skip: int) -> Tensor:
        """Heads (B, H, N, d), with the tokens from `skip` on rotated by position."""
        from timm.layers import apply_rot_embed_cat

        half = getattr(self.block.attn, "rotate_half", False)
        rotated = apply_rot_embed_cat(heads[:, :, skip:], rope, half=half)
        return torch.cat([heads[:, :, :skip], rotated], dim=2).to(heads)


@final
class NativeLayer(Layer):
    """open_clip's ResidualAttentionBlock."""

    def norm(self, x: Tensor) -> Tensor:
        """Pre-norm."""
        return self.block.ln_1(x)  # type: ignore[no-any-return]

    def heads(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Those of `nn.MultiheadAttention`, or of the module that replaces it."""
        parts = in_projection(self.block.attn, h).chunk(3, dim=-1)
        q, k, v = (by_head(part, self.block.attn.num_heads) for part in parts)
        return q, k, v

    def finish(self, x: Tensor, attended: Tensor, h: Tensor) -> Tensor:  # noqa: ARG002
        """Output projection and MLP."""
        return finish_block(self.block, x, attended)


@final
class TimmLayer(Layer):
    """A block of timm: pre-norm or post-norm, layer scale as module or vector, one projection or three."""

    def __init__(self, block: Any) -> None:
        super().__init__(block)
        self.post_norm = type(block).__name__ in POST_NORM

    def norm(self, x: Tensor) -> Tensor:
        """Pre-norm; with post-norm, x unchanged."""
        return x if self.post_norm else self.block.norm1(x)

    def heads(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """With the norms of queries and keys if the block has them."""
        attn = self.block.attn
        if attn.qkv is None:
            parts = [attn.q_proj(h), attn.k_proj(h), attn.v_proj(h)]
        else:
            parts = list(attn.qkv(h).chunk(3, dim=-1))
            if getattr(attn, "q_bias", None) is not None:
                biases = (attn.q_bias, attn.k_bias, attn.v_bias)
                parts = [part + bias for part, bias in zip(parts, biases, strict=True)]
        kv_heads = getattr(attn, "num_kv_heads", attn.num_heads)
        q, k, v = (by_head(part, n) for part, n in zip(parts, (attn.num_heads, kv_heads, kv_heads), strict=True))
        return _part(attn, "q_norm")(q), _part(attn, "k_norm")(k), v

    def finish(self, x: Tensor, attended: Tensor, h: Tensor) -> Tensor:
        """Output norm, gate and projection; then the MLP."""
        attn, block = self.block.attn, self.block
        attended = _part(attn, "norm")(attended)
        if getattr(attn, "gate", None) is not None:
            attended = attended * attn.gate(h).sigmoid()
        x = x + self._scaled(attn.proj(attended), "1")
        return x + self._scaled(block.mlp(x if self.post_norm else block.norm2(x)), "2")

    def _scaled(self, branch: Tensor, number: str) -> Tensor:
        """A branch before it is added: normed (post-norm) or scaled (layer scale)."""
        if self.post_norm:
            return getattr(self.block, f"norm{number}")(branch)  # type: ignore[no-any-return]
        gamma = getattr(self.block, f"gamma_{number}", None)
        scaled: Tensor = _part(self.block, f"ls{number}")(branch) if gamma is None else gamma * branch
        return scaled


POST_NORM = ("ResPostBlock", "EvaBlockPostNorm", "ResPostRelPosBlock")
# Supported blocks and attentions of timm, by module and exact class: a subclass may compute something else.
TIMM_BLOCKS = {
    "timm.models.vision_transformer": ("Block", "ResPostBlock"),
    "timm.models.eva": ("EvaBlock", "EvaBlockPostNorm"),
    "timm.models.beit": ("Block",),
    "timm.models.vision_transformer_relpos": ("RelPosBlock", "ResPostRelPosBlock"),
}
TIMM_ATTENTION = {
    "timm.layers.attention": ("Attention", "AttentionRope"),
    "timm.models.eva": ("EvaAttention",),
    "timm.models.beit": ("Attention",),
    "timm.models.vision_transformer_relpos": ("RelPosAttention",),
}


def layer_of(block: Any) -> Layer | None:
    """The layer that replaces a block; None for a block of an unsupported class, which then runs as a whole."""
    from open_clip.transformer import ResidualAttentionBlock

    attention = getattr(block, "attn", None)
    if type(block) is ResidualAttentionBlock:
        return NativeLayer(block) if isinstance(attention, nn.MultiheadAttention) else None
    supported = all(
        type(part).__name__ in classes.get(type(part).__module__, ())
        for part, classes in ((block, TIMM_BLOCKS), (attention, TIMM_ATTENTION))
    )
    return TimmLayer(block) if supported else None


def _batched(tokens: Tensor) -> Tensor:
    """(n, D) -> (1, n, D); (B, n, D) stays."""
    return tokens if tokens.ndim == 3 else tokens[None]


def _part(module: Any, name: str) -> Any:
    """A submodule, or the identity if the module has none of this name."""
    part = getattr(module, name, None)
    return nn.Identity() if part is None else part
