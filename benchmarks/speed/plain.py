"""The plain way through the text tower, which the official codes take: all 77 positions of every class."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from vlprompt.backbones import Clip

NONE: Mapping[int, Tensor] = MappingProxyType({})


class PlainTexts:
    """Texts "[V]_1 .. [V]_M words name." of C classes, run through open_clip's own blocks with their causal mask."""

    def __init__(self, clip: Clip, names: Sequence[str], slots: int, words: str = "") -> None:
        """Tokenise the texts.

        Args:
            clip: The model.
            names: C class names.
            slots: M, learned tokens behind the start of text.
            words: What stands between them and the name.
        """
        opening = " ".join(["x"] * slots + words.split())
        self.model = clip.model
        self.ids = clip.tokenizer([f"{opening} {name}." for name in names])
        self.embedded = clip.embed_tokens(self.ids)

    def encode(self, context: Tensor, deep: Mapping[int, Tensor] = NONE, chosen: slice = slice(None)) -> Tensor:
        """Encode texts at full length.

        Args:
            context: (M, D), what stands in the slots.
            deep: {layer: (M, D)}, what overwrites the slots before that layer (MaPLe, PromptSRC).
            chosen: Which classes.

        Returns:
            (C, E) features, not normalised.
        """
        model, ids = self.model, self.ids[chosen]
        x = _overwritten(self.embedded[chosen], context) + model.positional_embedding
        for number, block in enumerate(model.transformer.resblocks):
            if number in deep:
                x = _overwritten(x, deep[number])
            x = block(x, attn_mask=model.attn_mask)
        x = model.ln_final(x)
        features: Tensor = x[torch.arange(len(ids)), ids.argmax(dim=-1)] @ model.text_projection
        return features


def _overwritten(x: Tensor, tokens: Tensor) -> Tensor:
    """(C, L, D) states with (M, D) tokens at positions 1..M."""
    return torch.cat([x[:, :1], tokens.expand(len(x), -1, -1), x[:, 1 + len(tokens) :]], dim=1)


def difference(a: Tensor, b: Tensor) -> float:
    """The largest difference as a share of the largest entry."""
    return float((a - b).abs().max() / b.abs().max())
