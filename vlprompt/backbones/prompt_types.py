"""Prompts for a frozen CLIP or ViT: tokens that enter a tower beside its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.errors import UsageError, unknown

Spread = Literal["replace", "propagate"]
Place = Literal["embed", "blocks"]
Pool = Literal["exclude", "include", "only"]


@dataclass(frozen=True)
class TextPrompt:
    """C texts that start with a common prefix, as token embeddings (before position embeddings).

    Attributes:
        prefix: (G, P, D), start-of-text and the other tokens that all texts start with. G variants: 1 for a shared
            context, or one per image, per domain or per context of an ensemble.
        suffix: (C, S, D) or (G, C, S, D), the rest of each text up to end-of-text, padded on the right.
        ends: (C,) or (G, C) int64, index in the suffix of the last token (end-of-text), which causal towers read.
            On the CPU: they decide which texts run together, and that must not wait for the device.
        ids: (C, L) or (G, C, L) int64, the token ids of the texts, padded to the context length, with placeholders for
            learned tokens. Towers that are not causal use them for padding and pooling.
        deep: {layer: (n, D) or (G, n, D)}, tokens that replace the first n after start-of-text before that layer; those
            n must be part of the prefix.
    """

    prefix: Tensor
    suffix: Tensor
    ends: Tensor
    ids: Tensor
    deep: Mapping[int, Tensor] = field(default_factory=dict)

    def select(self, texts: Tensor) -> "TextPrompt":
        """The prompt of some of the texts, given by (c,) indices on the CPU."""
        suffix = self.suffix.index_select(-3, texts.to(self.suffix.device))
        ids = self.ids.index_select(-2, texts.to(self.ids.device))
        return replace(self, suffix=suffix, ends=self.ends.index_select(-1, texts), ids=ids)


@dataclass(frozen=True)
class VisualPrompt:
    """Tokens that run through an image tower beside the image's own; they have no position embeddings.

    Attributes:
        tokens: {layer: (P, D) or (B, P, D)}, the tokens that enter before that layer (0: the first), shared by all
            images or one set per image. At a layer without an entry, the prompts of the layer before continue.
        spread: "replace": tokens that enter replace the prompts before them (VPT-deep, MaPLe); "propagate": they join
            them (VPT-shallow, L2P).
        place: Where the tokens of layer 0 enter: "embed", before the tower's pre-norm (VPT for CLIP, MaPLe), or
            "blocks", after it (VPT). Attention ignores order, so it makes no other difference.
        pool: Whether average and attention pooling include the prompts: "exclude", "include", or "only" them; their
            mean then also replaces the class token (L2P).
        prefixes: {layer: (keys, values)}, each (n, D) or (B, n, D), joined to the layer's own keys and values after
            their norm and rotation (DualPrompt, CODA-Prompt). D is the width of the layer's keys.
    """

    tokens: Mapping[int, Tensor] = field(default_factory=dict)
    spread: Spread = "replace"
    place: Place = "embed"
    pool: Pool = "exclude"
    prefixes: Mapping[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise UsageError for an unknown option, or for tokens of a wrong shape."""
        for name, allowed in (("spread", Spread), ("place", Place), ("pool", Pool)):
            if getattr(self, name) not in get_args(allowed):
                raise unknown(name, str(getattr(self, name)), get_args(allowed))
        for layer, tokens in self.tokens.items():
            if tokens.ndim not in (2, 3):
                raise UsageError(
                    f"the prompt of layer {layer} has shape {tuple(tokens.shape)}; give (P, D) for all images or "
                    "(B, P, D) for one prompt per image."
                )
        for layer, (keys, values) in self.prefixes.items():
            if keys.shape != values.shape or keys.ndim not in (2, 3):
                raise UsageError(
                    f"the prefix of layer {layer} has keys {tuple(keys.shape)} and values {tuple(values.shape)}; give "
                    "both as (n, D) for all images or (B, n, D) for one prefix per image."
                )

    def check_fit(self, layers: int, width: int, images: int) -> None:
        """Raise UsageError if the prompt is for another width, a layer that does not exist, or another batch size."""
        if missing := sorted((set(self.tokens) | set(self.prefixes)) - set(range(layers))):
            raise UsageError(f"prompts for layers {missing}, but the image tower has layers 0 to {layers - 1}.")
        for layer, tokens in self.tokens.items():
            if tokens.shape[-1] != width:
                raise UsageError(
                    f"the prompt of layer {layer} has width {tokens.shape[-1]}, the image tower's tokens have {width}."
                )
        parts = [*self.tokens.items(), *((layer, part) for layer, pair in self.prefixes.items() for part in pair)]
        for layer, part in parts:
            if part.ndim == 3 and len(part) != images:
                raise UsageError(f"the prompt of layer {layer} is for {len(part)} images, the batch has {images}.")
        if self.pool == "only" and not any(tokens.shape[-2] for tokens in self.tokens.values()):
            raise UsageError("pool 'only' averages the prompts, but this prompt has no tokens.")


NO_PROMPT = VisualPrompt()


def stack_prompts(prompts: Sequence[TextPrompt]) -> TextPrompt:
    """Stack G prompts of one variant, each for C texts, to one prompt of G variants; deep prompts are dropped.

    Tokens beyond the shortest prefix move into the suffixes.
    """
    shared = min(prompt.prefix.shape[1] for prompt in prompts)
    suffixes, ends = [], []
    for prompt in prompts:
        moved = prompt.prefix[:, shared:]  # (1, P - shared, D), nearly always empty
        suffixes.append(torch.cat([moved.expand(len(prompt.suffix), -1, -1), prompt.suffix], dim=1))
        ends.append(prompt.ends + moved.shape[1])
    longest = max(suffix.shape[1] for suffix in suffixes)
    padded = [F.pad(suffix, (0, 0, 0, longest - suffix.shape[1])) for suffix in suffixes]
    prefix = torch.cat([prompt.prefix[:, :shared] for prompt in prompts])
    return TextPrompt(prefix, torch.stack(padded), torch.stack(ends), torch.stack([prompt.ids for prompt in prompts]))
