"""The baseline of the text tower, as in the official codes: all 77 positions of every class."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn

from vlprompt.backbones import Clip

NONE: Mapping[int, Tensor] = MappingProxyType({})
CHUNK = 100  # classes at once: 300 would need about 10 GB, and as much time


class FullTexts:
    """Texts "[V]_1 .. [V]_M words name." of C classes, run through open_clip's own blocks with their causal mask."""

    def __init__(self, clip: Clip, names: Sequence[str], slots: int, words: str = "") -> None:
        """Tokenise the texts.

        Args:
            clip: The model.
            names: C class names.
            slots: M, learned tokens after the start of text.
            words: The words between them and the name.
        """
        opening = " ".join(["x"] * slots + words.split())
        self.model = clip.model
        self.ids = clip.tokenizer([f"{opening} {name}." for name in names])
        self.embedded = clip.embed_tokens(self.ids)

    def encode(self, context: Tensor, deep: Mapping[int, Tensor] = NONE, chosen: slice = slice(None)) -> Tensor:
        """Encode texts at full length.

        Args:
            context: (M, D), the tokens in the slots.
            deep: {layer: (M, D)}, tokens that replace those in the slots before that layer (MaPLe, PromptSRC).
            chosen: The classes.

        Returns:
            (C, E) features, not normalised.
        """
        model, ids = self.model, self.ids[chosen]
        x = _replaced(self.embedded[chosen], context) + model.positional_embedding
        for number, block in enumerate(model.transformer.resblocks):
            if number in deep:
                x = _replaced(x, deep[number])
            x = block(x, attn_mask=model.attn_mask)
        x = model.ln_final(x)
        features: Tensor = x[torch.arange(len(ids)), ids.argmax(dim=-1)] @ model.text_projection
        return features


class FullCoOp:
    """CoOp's text side: every class with all its positions through open_clip's own modules."""

    def __init__(self, clip: Clip, names: Sequence[str], context: Tensor) -> None:
        self.context = context.detach().clone().requires_grad_()
        self.texts = FullTexts(clip, names, len(context))

    def run(self, upstream: Tensor) -> tuple[Tensor, Tensor]:
        """Text features (C, E), and the context's gradient (M, D) for their gradient `upstream` (C, E)."""
        self.context.grad = None
        parts = []
        for first in range(0, len(upstream), CHUNK):
            chosen = slice(first, first + CHUNK)
            text = self.texts.encode(self.context, chosen=chosen)
            text.backward(upstream[chosen])  # type: ignore[no-untyped-call]
            parts.append(text.detach())
        assert self.context.grad is not None
        return torch.cat(parts), self.context.grad


def vit_tokens(net: nn.Module, images: Tensor) -> Tensor:
    """(B, 1 + n, D) class token and patches of a ViT of timm, before its first block."""
    tokens: Tensor = net.norm_pre(net._pos_embed(net.patch_embed(images)))  # type: ignore[operator]
    return tokens


def difference(a: Tensor, b: Tensor) -> float:
    """The largest difference as a share of the largest entry."""
    return float((a - b).abs().max() / b.abs().max())


def _replaced(x: Tensor, tokens: Tensor) -> Tensor:
    """(C, L, D) states with (M, D) tokens at positions 1..M."""
    return torch.cat([x[:, :1], tokens.expand(len(x), -1, -1), x[:, 1 + len(tokens) :]], dim=1)
