"""What a prompt is: tokens that enter a frozen tower beside its own."""

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
    """C texts that open with a common prefix, as token embeddings (before position embeddings).

    Attributes:
        prefix: (G, P, D), start-of-text and whatever else every text opens with. G variants: 1 for CoOp, one per
            image for CoCoOp and TPT, one per domain for DAPL, one per context for an ensemble.
        suffix: (C, S, D) or (G, C, S, D), what differs by text up to its end-of-text; padded on the right.
        ends: (C,) or (G, C) int64, index in the suffix of the last token (end-of-text), the one causal towers read.
            They stay on the CPU: which texts run together is decided by them, without a wait for the device.
        ids: (C, L) or (G, C, L) int64, the token ids the texts stand for, padded to the context length, with
            placeholders where tokens are learned. Towers that are not causal look at ids for padding and pooling.
        deep: {layer: (n, D) or (G, n, D)}, overwrites the first n tokens after start-of-text before that layer
            (MaPLe, PromptSRC); they must be part of the prefix.
    """

    prefix: Tensor
    suffix: Tensor
    ends: Tensor
    ids: Tensor
    deep: Mapping[int, Tensor] = field(default_factory=dict)

    def only(self, texts: Tensor) -> "TextPrompt":
        """The prompt of some of the texts, given by (c,) indices on the CPU."""
        suffix = self.suffix.index_select(-3, texts.to(self.suffix.device))
        ids = self.ids.index_select(-2, texts.to(self.ids.device))
        return replace(self, suffix=suffix, ends=self.ends.index_select(-1, texts), ids=ids)


@dataclass(frozen=True)
class VisualPrompt:
    """Tokens that run through an image tower beside the image's own; they have no position embeddings.

    Attributes:
        tokens: {layer: (P, D) or (B, P, D)}, what enters before that layer (0: the first), the same for all images or
            for each its own. Before a layer that is not named, prompts stay what they have become.
        spread: "replace": tokens that enter take the place of the prompts before them (VPT-deep, MaPLe); "propagate":
            they stand behind them (VPT-shallow, L2P).
        place: Where those of layer 0 enter: "embed", before the tower's pre-norm (VPT for CLIP, MaPLe, PromptSRC), or
            "blocks", after it (VPT). Attention asks for no order, so it makes no other difference.
        pool: Whether average and attention pooling see the prompts: "exclude", "include", or "only" them, whose mean
            then stands for the class token too (L2P).
        prefixes: {layer: (keys, values)}, each (n, D) or (B, n, D), joined as they are to the layer's own keys and
            values, behind any norm or rotation of these (DualPrompt, CODA-Prompt). D is the width of its keys.
    """

    tokens: Mapping[int, Tensor] = field(default_factory=dict)
    spread: Spread = "replace"
    place: Place = "embed"
    pool: Pool = "exclude"
    prefixes: Mapping[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise UsageError for a way of prompting that there is not, or tokens that are not rows of vectors."""
        for name, allowed in (("spread", Spread), ("place", Place), ("pool", Pool)):
            if getattr(self, name) not in get_args(allowed):
                raise unknown(name, str(getattr(self, name)), get_args(allowed))
        for layer, tokens in self.tokens.items():
            if tokens.ndim not in (2, 3):
                raise UsageError(
                    f"the prompt of layer {layer} has shape {tuple(tokens.shape)}; give (P, D) for all images or "
                    "(B, P, D) for each its own."
                )
        for layer, (keys, values) in self.prefixes.items():
            if keys.shape != values.shape or keys.ndim not in (2, 3):
                raise UsageError(
                    f"the prefix of layer {layer} has keys {tuple(keys.shape)} and values {tuple(values.shape)}; give "
                    "both as (n, D) for all images or (B, n, D) for each its own."
                )


NONE = VisualPrompt()


def as_variants(prompts: Sequence[TextPrompt]) -> TextPrompt:
    """One prompt of G variants from G prompts of one, each for C texts that may end in words of the variant's own.

    What the shortest prefix does not hold moves into the suffixes. Deep prompts are not carried over.
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
