"""Parts of prompt tuning for single images: initial contexts, losses, and exact gradients at low cost.

An image enters through its features only. So the text features of an initial context that many images share, and the
graph from them to the context, are computed once for all of them; each image adds one vector-Jacobian product through
the text tower.

These products are computed image by image, so that an image's gradient is the same bit for bit in every batch: AdamW's
first step depends on the sign of the gradient, which rounding can flip. A batched product (`is_grads_batched`) was
measured on a CPU with ViT-B/16: 1.3 times as fast with 20 classes, where the image tower takes a hundred times as long
as either, 0.7 to 0.9 times as fast with 100 and 300 classes, and with more memory. The whole Jacobian costs as much as
min(M * D, C * E) products, 2,048 for four tokens of ViT-B/16, before it saves the first.
"""

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.backbones.prompt_types import TextPrompt
from vlprompt.errors import UsageError
from vlprompt.prompts.context import PromptLayout
from vlprompt.prompts.words import from_words

NAME = "[CLASS]"  # marks the place of the class name among words
GRAPH_TOKENS = 3 * 2048  # most text tokens whose graph stays in memory; 3.6 GB in ViT-B/16, float32


@runtime_checkable
class Tunable(Protocol):
    """A learner with a context of words that can be tuned for an image."""

    def set_classes(self, names: Sequence[str]) -> None:
        """Use other class names with the same context."""

    def context_layout(self) -> PromptLayout:
        """The place of the context among the words of the current classes."""

    def initial_contexts(self, features: Tensor, *, reference_quirks: bool = False) -> Tensor:
        """Contexts from which tuning starts.

        Args:
            features: (B, E) of plain images, not normalised.
            reference_quirks: As in the released code of TPT, including its faults.

        Returns:
            (1, n, D) if all images start from the same context, else (B, n, D).
        """


class WordContext(nn.Module):
    """A context of hand-written words, as in zero-shot CLIP; a `Tunable`."""

    context: Tensor  # (M, D)

    def __init__(self, clip: Clip, names: Sequence[str], words: str) -> None:
        """Embed the words and lay out the prompts.

        Args:
            clip: The frozen model.
            names: Class names.
            words: Such as "a photo of a"; [CLASS] marks the place of the name where it is not the end.

        Raises:
            UsageError: There are no words besides [CLASS], or [CLASS] occurs more than once.
        """
        super().__init__()
        before, mark, after = words.replace("_", " ").partition(NAME)
        if NAME in after:
            raise UsageError(f"{words!r} has {NAME} more than once; the class name has one place.")
        self.clip = clip
        self.register_buffer("context", from_words(clip, f"{before} {after}"), persistent=False)
        self.before = len(clip.tokenizer.pieces(before)) if mark else len(self.context)
        self.set_classes(names)

    def set_classes(self, names: Sequence[str]) -> None:
        """Lay out the prompts of these names."""
        self.layout = PromptLayout(self.clip, names, len(self.context), position=self.before)

    def context_layout(self) -> PromptLayout:
        """The place of the words in the prompts."""
        return self.layout

    def initial_contexts(self, features: Tensor, *, reference_quirks: bool = False) -> Tensor:  # noqa: ARG002
        """(1, M, D), the words."""
        return self.context[None]


class EncodedContext:
    """The text features of one context, with gradients from them to the context for any number of images.

    Attributes:
        context: (1, n, D).
        layout: Its place among the words.
        text: (1, C, E) text features, not normalised, without a graph.
    """

    def __init__(self, clip: Clip, layout: PromptLayout, context: Tensor) -> None:
        self.clip, self.layout = clip, layout
        with torch.enable_grad():
            self.context = context.detach().clone().requires_grad_()
            prompt = layout.fill(self.context)
            self.chunks = clip.encoder.chunks(prompt)
            self.prompts = [prompt.select(chunk) for chunk in self.chunks]
        fits = int((prompt.ends + 1).sum()) <= GRAPH_TOKENS
        self.graphs = [self._encode(part) for part in self.prompts] if fits else []
        with torch.no_grad():
            features = self.graphs or [clip.encode_text(part) for part in self.prompts]
            self.text = torch.cat(features, dim=1)[:, torch.cat(self.chunks).argsort()]

    def is_of(self, layout: PromptLayout, context: Tensor) -> bool:
        """Whether this layout and context would give the same features."""
        same_place = self.layout is layout and self.context.device == context.device
        return same_place and torch.equal(self.context, context)

    def _encode(self, prompt: TextPrompt) -> Tensor:
        """(1, c, E) with its graph; a single chunk is not computed again in the backward pass."""
        with torch.enable_grad():
            return self.clip.encode_text(prompt)

    def gradients(self, above: Tensor) -> Tensor:
        """Gradients of B losses with respect to the context, from those with respect to the text features.

        Args:
            above: (B, C, E).

        Returns:
            (B, n, D). Where the graphs of all classes do not fit in memory, that of a chunk is computed once for the B
            images together.
        """
        total = self.context.new_zeros(len(above), *self.context.shape[1:])
        for number, (chunk, prompt) in enumerate(zip(self.chunks, self.prompts, strict=True)):
            text = self.graphs[number] if self.graphs else self._encode(prompt)
            for image in range(len(above)):
                part = above[image : image + 1, chunk]
                total[image] += torch.autograd.grad(text, self.context, part, retain_graph=True)[0][0]
        return total


def confident(scores: Tensor, share: float) -> Tensor:
    """The views with the lowest entropy of their prediction, the most certain first.

    Shu et al. 2022 (arXiv:2209.07511), section 3.2; the count is that of select_confident_samples (azshue/TPT,
    tpt_classification.py), but never zero.

    Args:
        scores: (V, C) class scores of an image's views.
        share: rho, the share of views to select.

    Returns:
        (K,) indices, K = int(V * share), at least 1.
    """
    log_p = scores.log_softmax(dim=-1)
    entropy = -(log_p.exp() * log_p).sum(dim=-1)
    return entropy.argsort(stable=True)[: max(1, int(len(scores) * share))]


def marginal_entropy(scores: Tensor) -> Tensor:
    """The entropy of the mean prediction of (K, C) scores, a scalar; Shu et al. 2022, section 3.2."""
    log_mean = scores.log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(scores))
    return -(log_mean.exp() * log_mean).sum()


def dispersion(text: Tensor) -> Tensor:
    """The mean distance of normalised text features (C, E) from their centre, a scalar.

    The average text feature dispersion of Yoon et al., ICLR 2024 (arXiv:2403.14119); hee-suk-yoon/C-TPT,
    clip/custom_clip.py.
    """
    unit = F.normalize(text, dim=-1)
    distances: Tensor = torch.linalg.vector_norm(unit - unit.mean(dim=0), dim=-1)  # (C,)
    return distances.mean()
