"""What tuning a prompt for one image is made of: where it starts, what is confident, and cheap exact gradients.

An image only enters through its features, so the text features of a start that many images share, and the graph that
leads back from them to the context, are made once and serve all of them. What is left for each image is one
vector-Jacobian product through the text tower.

These are taken one image after the other, so that an image's gradient is the same bit for bit in whatever batch it
comes: AdamW's first step goes by the gradient's sign, and rounding would decide some of them. A batched product
(`is_grads_batched`) was measured on a CPU with ViT-B/16: 1.3 times as fast at 20 classes, where the image tower takes a
hundred times as long as either, 0.7 to 0.9 times as fast at 100 and 300 classes, and it takes more memory. The whole
Jacobian costs as much as min(M * D, C * E) products, 2,048 for four tokens of ViT-B/16, before it saves the first.
"""

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.backbones.prompts import TextPrompt
from vlprompt.errors import UsageError
from vlprompt.init import from_words
from vlprompt.layout import PromptLayout

NAME = "[CLASS]"  # stands for the class name among words
KEPT_TOKENS = 3 * 2048  # of text, that keep their activations; they take 3.6 GB in ViT-B/16, float32


@runtime_checkable
class Tunable(Protocol):
    """What has a context of words that can be tuned for an image."""

    classes: tuple[str, ...]
    layout: PromptLayout  # where the context stands among a class's words

    @property
    def keeps_classes(self) -> str:
        """Why the class names cannot be changed; empty where they can."""

    def set_classes(self, names: Sequence[str]) -> None:
        """Tell other classes apart with the same context."""

    def starts(self, features: Tensor, *, reference_quirks: bool = False) -> Tensor:
        """Where tuning starts, from the (B, E) features of plain images.

        Args:
            features: Not normalised.
            reference_quirks: As the code of TPT computes it, right or wrong.

        Returns:
            (1, n, D) if all images start from the same context, else (B, n, D).
        """


class Words(nn.Module):
    """Hand-written words around the class name, as a context: where zero-shot CLIP starts."""

    context: Tensor  # (M, D)
    keeps_classes = ""

    def __init__(self, clip: Clip, names: Sequence[str], words: str) -> None:
        """Embed the words and lay out the prompts.

        Args:
            clip: The frozen model.
            names: Class names.
            words: Such as "a photo of a", with [CLASS] where the name stands if that is not at the end.

        Raises:
            UsageError: There are no words besides [CLASS], or it stands there more than once.
        """
        super().__init__()
        before, mark, after = words.replace("_", " ").partition(NAME)
        if NAME in after:
            raise UsageError(f"{words!r} has {NAME} more than once; the class name stands in one place.")
        self.clip = clip
        self.register_buffer("context", from_words(clip, f"{before} {after}"), persistent=False)
        self.before = len(clip.tokenizer.pieces(before)) if mark else len(self.context)
        self.set_classes(names)

    def set_classes(self, names: Sequence[str]) -> None:
        """Lay the prompts out for these names."""
        self.classes = tuple(names)
        self.layout = PromptLayout(self.clip, self.classes, len(self.context), position=self.before)

    def starts(self, features: Tensor, *, reference_quirks: bool = False) -> Tensor:  # noqa: ARG002
        """(1, M, D), the words."""
        return self.context[None]


class EncodedContext:
    """The text features of one context, and the way back from them to the context for any number of images.

    Attributes:
        context: (1, n, D).
        layout: Where it stands among the words.
        text: (1, C, E) text features, not normalised, without a graph.
    """

    def __init__(self, clip: Clip, layout: PromptLayout, context: Tensor) -> None:
        self.clip, self.layout = clip, layout
        with torch.enable_grad():
            self.context = context.detach().clone().requires_grad_()
            prompt = layout.fill(self.context)
            self.chunks = clip.encoder.chunks(prompt)
            self.prompts = [prompt.only(chunk) for chunk in self.chunks]
        fits = int((prompt.ends + 1).sum()) <= KEPT_TOKENS
        self.kept = [self._encode(part) for part in self.prompts] if fits else []
        with torch.no_grad():
            found = self.kept or [clip.encode_text(part) for part in self.prompts]
            self.text = torch.cat(found, dim=1)[:, torch.cat(self.chunks).argsort()]

    def is_of(self, layout: PromptLayout, context: Tensor) -> bool:
        """Whether this is what it would be if it were made anew."""
        here = self.layout is layout and self.context.device == context.device
        return here and torch.equal(self.context, context)

    def _encode(self, prompt: TextPrompt) -> Tensor:
        """(1, c, E) with its graph; one chunk is not computed again in the backward pass."""
        with torch.enable_grad():
            return self.clip.encode_text(prompt)

    def gradients(self, above: Tensor) -> Tensor:
        """What the gradients of B losses with respect to the text features mean for the context.

        Args:
            above: (B, C, E).

        Returns:
            (B, n, D). Where the activations of all classes are too many to be kept, those of a chunk are computed once
            for the B images together.
        """
        total = self.context.new_zeros(len(above), *self.context.shape[1:])
        for number, (chunk, prompt) in enumerate(zip(self.chunks, self.prompts, strict=True)):
            text = self.kept[number] if self.kept else self._encode(prompt)
            for image in range(len(above)):
                seen = above[image : image + 1, chunk]
                total[image] += torch.autograd.grad(text, self.context, seen, retain_graph=True)[0][0]
        return total


def confident(scores: Tensor, share: float) -> Tensor:
    """The views whose answers have the lowest entropy, the surest first.

    Shu et al. 2022 (arXiv:2209.07511), section 3.2; the count is that of select_confident_samples (azshue/TPT,
    tpt_classification.py), but never zero.

    Args:
        scores: (V, C) class scores of an image's views.
        share: rho, the share of views that is kept.

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
    """How far the (C, E) text features lie from their centre on average, a scalar; all of unit length.

    The average text feature dispersion of Yoon et al., ICLR 2024 (arXiv:2403.14119); hee-suk-yoon/C-TPT,
    clip/custom_clip.py.
    """
    unit = F.normalize(text, dim=-1)
    distances: Tensor = torch.linalg.vector_norm(unit - unit.mean(dim=0), dim=-1)  # (C,)
    return distances.mean()
