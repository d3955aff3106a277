"""Prompts that enter a tower anew at every layer: what MaPLe, IVLP and PromptSRC share.

Depth counts the prompts of the input: depth 1 is shallow, depth J puts learned tokens before each of layers 0..J-1.
Later layers go on with what came out. Image prompts stand behind the patches, and those of the input go through the
pre-norm (muzairkhattak/multimodal-prompt-learning, clip/model.py).
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.backbones.prompts import NONE, VisualPrompt
from vlprompt.errors import UsageError
from vlprompt.init import from_words, seeded
from vlprompt.layout import PromptLayout

STD = 0.02  # of prompts that start from noise, in both towers (clip/model.py)


class DeepPrompts(nn.Module):
    """Prompts of both towers that know nothing of each other (IVLP).

    Attributes:
        text: (J, n, D) parameter, of the text tower; None at depth 0.
        vision: (J, n, D) parameter, of the image tower; None at depth 0.
        layout: The prompts of the current classes.
    """

    text: nn.Parameter | None
    vision: nn.Parameter | None
    plain: Tensor | None = None  # (1, C, E) features of texts without learned tokens

    def __init__(
        self,
        clip: Clip,
        *,
        n_text: int,
        depth_text: int,
        n_vision: int,
        depth_vision: int,
        words: str,
        seed: int,
    ) -> None:
        """Start the text prompts of the input from words, all others from noise.

        Args:
            clip: The model they are for.
            n_text: Learned tokens of the text tower, each layer.
            depth_text: J of the text tower, 0 for none.
            n_vision: Learned tokens of the image tower, each layer.
            depth_vision: J of the image tower, 0 for none.
            words: What the texts open with; the first `n_text` tokens are learned, the others stay. "" for noise.
            seed: Of the noise.

        Raises:
            UsageError: A tower has fewer layers than J, or the words do not make so many tokens.
        """
        super().__init__()
        text = vision = None
        if depth_text:
            check_depth("depth_text", depth_text, "text", clip.text_layers)
        if depth_vision:
            check_depth("depth_vision", depth_vision, "image", clip.vision_layers)
        learned, self.words = split_words(clip, words, n_text if depth_text else 0)
        with seeded(seed):
            if depth_text:
                text = STD * torch.randn(depth_text, n_text, clip.text_width)
            if depth_vision:
                vision = STD * torch.randn(depth_vision, n_vision, clip.vision_width)
        if text is not None and learned:
            text[0] = from_words(clip, learned)
        self.register_parameter("text", None if text is None else nn.Parameter(text.to(clip.device)))
        self.register_parameter("vision", None if vision is None else nn.Parameter(vision.to(clip.device)))

    def lay_out(self, clip: Clip, names: Sequence[str]) -> None:
        """Lay the texts out for some class names; a text without learned tokens is encoded here, once."""
        slots = 0 if self.text is None else self.text.shape[1]
        self.layout = PromptLayout(clip, names, slots, fixed=self.words)
        if self.text is None:
            with torch.no_grad():
                self.plain = clip.encode_text(self.layout.fill(self.layout.words.new_zeros(1, 0, clip.text_width)))

    def encode_text(self, clip: Clip) -> Tensor:
        """(1, C, E) text features."""
        if self.text is None:
            assert self.plain is not None, "lay_out comes first"
            return self.plain
        return clip.encode_text(self.layout.fill(self.text[:1], dict(enumerate(self.text[1:], start=1))))

    def encode_image(self, clip: Clip, images: Tensor) -> Tensor:
        """(B, 3, H, W) images -> (B, E) features."""
        return clip.encode_image(images, NONE if self.vision is None else by_layer(self.vision))


def by_layer(tokens: Iterable[Tensor]) -> VisualPrompt:
    """One (n, D) image prompt for each of the first layers, that replaces the one before."""
    return VisualPrompt(dict(enumerate(tokens)))


def split_words(clip: Clip, words: str, count: int) -> tuple[str, str]:
    """The words whose tokens are learned and the words that stay; no words, nothing of either.

    Raises:
        UsageError: The words make fewer tokens, or a word would be cut in two.
    """
    parts = words.replace("_", " ").split()
    for end in range(len(parts) + 1):
        if len(clip.tokenizer.pieces(" ".join(parts[:end]))) == count:
            return " ".join(parts[:end]), " ".join(parts[end:])
    if not parts:
        return "", ""
    total = len(clip.tokenizer.pieces(" ".join(parts)))
    raise UsageError(
        f"{count} learned tokens cannot start from {words!r}, which makes {total}; choose words whose first {count} "
        "tokens are whole words, or none to start from noise."
    )


def check_depth(name: str, depth: int, tower: str, layers: int) -> None:
    """Raise UsageError for a depth that a tower does not have."""
    if depth > layers:
        raise UsageError(f"{name} is {depth}, the {tower} tower has {layers} layers; give at most {layers}.")
