"""Layers of image towers spelled out, so that prompts can join their attention as keys and values alone.

Where a prompt's own output is thrown away (VPT-deep replaces it before the next layer, and CLS pooling never looks at
it), only its keys and values matter, and these are the same for all images of a batch: no query, no output projection,
no MLP. That is exact, gradients included. A layer here runs the library's own modules in the library's order;
`ImageTokens` compares the two when it takes a tower apart.
"""

import abc
import math
from dataclasses import dataclass
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.text_encoding import in_projection
from vlprompt.errors import UsageError

KeysValues = tuple[Tensor, Tensor]  # each (1 or B, H, n, d)
ALL = slice(None)
WEIGHTS_AT_ONCE = 2**20  # of attention on a CPU; they should stay in its cache
MOST_KEYS = 512  # whose weights are kept for the backward pass: at 200 a fifth of what a layer keeps, then ever more


@dataclass(frozen=True)
class Positions:
    """What attention knows of where N image tokens stand; prompts stand nowhere.

    Attributes:
        lead: Tokens in front of the patches.
        rope: (N - lead, 2d) or (H, N - lead, 2d) sines and cosines that turn the patches, as timm makes them.
        bias: (1, H, N, N) or what spreads to it, added to the scores.
    """

    lead: int = 1
    rope: Tensor | None = None
    bias: Tensor | None = None

    @property
    def matter(self) -> bool:
        """Whether attention looks at them at all."""
        return self.rope is not None or self.bias is not None


class Layer(abc.ABC):
    """A block whose attention takes keys and values from outside; x and h are (B, N, D), heads (B, H, N, d).

    The block is asked for its parts at every call, so that they may be exchanged (`adapted.py`). It is in evaluation
    mode: none of its dropout does anything.
    """

    def __init__(self, block: Any) -> None:
        self.block = block

    @abc.abstractmethod
    def norm(self, x: Tensor) -> Tensor:
        """What attention reads of x."""

    @abc.abstractmethod
    def heads(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, not yet rotated; keys and values may have fewer heads."""

    @abc.abstractmethod
    def finish(self, x: Tensor, found: Tensor, h: Tensor) -> Tensor:
        """What the block makes of its input x, of what the heads found (B, N, H d), and of what they had read."""

    def __call__(
        self, x: Tensor, at: Positions, extra: KeysValues | None = None, held: int = 0, rows: slice = ALL
    ) -> Tensor:
        """Run the layer.

        Args:
            x: (B, N, D) tokens.
            at: Where the image's tokens stand.
            extra: Keys and values that join the tokens' own.
            held: Prompts among the tokens, from `at.lead` on.
            rows: Tokens whose outputs are asked for; all of them give keys and values.

        Returns:
            (B, N', D), the outputs of the rows.
        """
        h = self.norm(x)
        q, k, v = self.heads(h)
        if at.rope is not None:
            q, k = (self._rotated(each, at.rope, at.lead + held) for each in (q, k))
        bias = None if at.bias is None else widened(at.bias, at.lead, held)[..., rows, :].to(q)
        if extra is not None:
            k, v = (torch.cat([e.expand(len(x), *e.shape[1:]), own], 2) for e, own in zip(extra, (k, v), strict=True))
            bias = None if bias is None else F.pad(bias, (extra[0].shape[2], 0))
        groups = q.shape[1] // k.shape[1]
        if groups > 1:
            k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        found = attention(q[:, :, rows], k, v, bias)
        return self.finish(x[:, rows], found.transpose(1, 2).flatten(2), h[:, rows])

    def keys_values(self, tokens: Tensor) -> KeysValues:
        """(P, D) or (B, P, D) prompts -> what they would give to attention if they stood among the tokens."""
        _, k, v = self.heads(self.norm(_batched(tokens)))
        return k, v

    def split(self, prefix: tuple[Tensor, Tensor], x: Tensor) -> KeysValues:
        """Keys and values, each (n, H d) or (B, n, H d), as heads of the type of the tokens x (B, N, D).

        Raises:
            UsageError: They are not of the width of the layer's own.
        """
        _, heads, _, depth = self.keys_values(x[:1, :1].detach())[0].shape
        if wrong := {each.shape[-1] for each in prefix} - {heads * depth}:
            raise UsageError(f"keys and values of {wrong.pop()} numbers were given, the layer's have {heads * depth}.")
        keys, values = (by_head(_batched(each).to(x), heads) for each in prefix)
        return keys, values

    def _rotated(self, heads: Tensor, rope: Tensor, skip: int) -> Tensor:
        """Heads (B, H, N, d) whose tokens from `skip` on are turned to their places."""
        from timm.layers import apply_rot_embed_cat

        half = getattr(self.block.attn, "rotate_half", False)
        turned = apply_rot_embed_cat(heads[:, :, skip:], rope, half=half)
        return torch.cat([heads[:, :, :skip], turned], dim=2).to(heads)


@final
class NativeLayer(Layer):
    """open_clip's ResidualAttentionBlock."""

    def norm(self, x: Tensor) -> Tensor:
        """Pre-norm."""
        return self.block.ln_1(x)  # type: ignore[no-any-return]

    def heads(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`nn.MultiheadAttention`'s, or those of what stands in its place."""
        parts = in_projection(self.block.attn, h).chunk(3, dim=-1)
        q, k, v = (by_head(part, self.block.attn.num_heads) for part in parts)
        return q, k, v

    def finish(self, x: Tensor, found: Tensor, h: Tensor) -> Tensor:  # noqa: ARG002
        """Output projection and MLP."""
        x = x + self.block.ls_1(self.block.attn.out_proj(found))
        return x + self.block.ls_2(self.block.mlp(self.block.ln_2(x)))  # type: ignore[no-any-return]


@final
class TimmLayer(Layer):
    """A block of timm: pre-norm or post-norm, layer scale by module or by vector, projections joined or apart."""

    def __init__(self, block: Any) -> None:
        super().__init__(block)
        self.post_norm = type(block).__name__ in POST_NORM

    def norm(self, x: Tensor) -> Tensor:
        """Pre-norm; with post-norm, x as it is."""
        return x if self.post_norm else self.block.norm1(x)

    def heads(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """With the norms of queries and keys where there are any."""
        attn = self.block.attn
        if attn.qkv is None:
            parts = [attn.q_proj(h), attn.k_proj(h), attn.v_proj(h)]
        else:
            parts = list(attn.qkv(h).chunk(3, dim=-1))
            if getattr(attn, "q_bias", None) is not None:
                biases = (attn.q_bias, attn.k_bias, attn.v_bias)
                parts = [part + bias for part, bias in zip(parts, biases, strict=True)]
        kept = getattr(attn, "num_kv_heads", attn.num_heads)
        q, k, v = (by_head(part, n) for part, n in zip(parts, (attn.num_heads, kept, kept), strict=True))
        return _part(attn, "q_norm")(q), _part(attn, "k_norm")(k), v

    def finish(self, x: Tensor, found: Tensor, h: Tensor) -> Tensor:
        """Output norm, gate and projection; then the MLP."""
        attn, block = self.block.attn, self.block
        found = _part(attn, "norm")(found)
        if getattr(attn, "gate", None) is not None:
            found = found * attn.gate(h).sigmoid()
        x = x + self._scaled(attn.proj(found), "1")
        read = x if self.post_norm else block.norm2(x)
        return x + self._scaled(block.mlp(read), "2")

    def _scaled(self, branch: Tensor, number: str) -> Tensor:
        """A branch as it is added: normed afterwards, or scaled."""
        if self.post_norm:
            return getattr(self.block, f"norm{number}")(branch)  # type: ignore[no-any-return]
        gamma = getattr(self.block, f"gamma_{number}", None)
        scaled: Tensor = _part(self.block, f"ls{number}")(branch) if gamma is None else gamma * branch
        return scaled


POST_NORM = ("ResPostBlock", "EvaBlockPostNorm", "ResPostRelPosBlock")
# Makes of blocks and of their attention, by module and class: of a subclass nothing is known.
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
    """A block spelled out; None where its make is not known, and it is run as a whole."""
    from open_clip.transformer import ResidualAttentionBlock

    attention = getattr(block, "attn", None)
    if type(block) is ResidualAttentionBlock:
        return NativeLayer(block) if isinstance(attention, nn.MultiheadAttention) else None
    known = all(
        type(part).__name__ in makes.get(type(part).__module__, ())
        for part, makes in ((block, TIMM_BLOCKS), (attention, TIMM_ATTENTION))
    )
    return TimmLayer(block) if known else None


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias) v, on a CPU by products of a few images at once.

    torch's own kernel multiplies blocks too small for a CPU: at 197 tokens it takes twice as long, in bfloat16 three
    times. But it keeps no weights (B, H, n, N) for the backward pass, so it is left those of very many tokens.

    Args:
        q: (B, H, n, d).
        k: (B, H, N, d).
        v: (B, H, N, d).
        bias: (1, H, n, N) or what spreads to it.

    Returns:
        (B, H, n, d).
    """
    kept_are_many = torch.is_grad_enabled() and k.shape[2] > MOST_KEYS
    if q.device.type != "cpu" or kept_are_many:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    images = max(1, WEIGHTS_AT_ONCE // (q.shape[1] * q.shape[2] * k.shape[2]))
    q = q / math.sqrt(q.shape[3])
    found = []
    for some_q, some_k, some_v in zip(*(torch.split(each, images) for each in (q, k, v)), strict=True):
        scores = some_q @ some_k.mT
        found.append((scores if bias is None else scores + bias).softmax(dim=-1) @ some_v)
    return torch.cat(found)


def widened(mask: Tensor, at: int, count: int) -> Tensor:
    """A mask of attention (..., N, N), with room for tokens that everybody sees and that see everybody.

    Args:
        mask: Added to the scores, or true where a token is seen (PyTorch's convention). A side of length 1 spreads
            over all tokens and stays.
        at: Where the tokens enter.
        count: How many there are.
    """
    for side in (-2, -1):
        if count and mask.shape[side] > 1:
            before, after = mask.narrow(side, 0, at), mask.narrow(side, at, mask.shape[side] - at)
            shape = list(mask.shape)
            shape[side] = count
            mask = torch.cat([before, mask.new_full(shape, mask.dtype == torch.bool), after], dim=side)
    return mask


def by_head(x: Tensor, heads: int) -> Tensor:
    """(B, N, H d) -> (B, H, N, d)."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def _batched(tokens: Tensor) -> Tensor:
    """(n, D) -> (1, n, D); (B, n, D) stays."""
    return tokens if tokens.ndim == 3 else tokens[None]


def _part(module: Any, name: str) -> Any:
    """A part of a module, or what does nothing where it has none."""
    part = getattr(module, name, None)
    return nn.Identity() if part is None else part
