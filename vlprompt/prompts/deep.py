"""Deep prompts: learned tokens that enter a tower at each of its first layers (MaPLe, IVLP, PromptSRC).

Depth J includes the input: at depth 1 (shallow) tokens enter there only, at depth J new ones replace the outputs of the
old ones before each of the layers 1..J-1. Image prompts follow the patches, and those of the input pass through the
pre-norm (muzairkhattak/multimodal-prompt-learning, clip/model.py).
"""

import abc
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.backbones.prompt_types import NO_PROMPT, VisualPrompt
from vlprompt.config import CountOrZero, Settings
from vlprompt.data.batch import Batch, images_of
from vlprompt.data.needs import Input, Needs
from vlprompt.errors import UsageError
from vlprompt.prompts.context import PromptLayout
from vlprompt.prompts.cosine import CosineLearner
from vlprompt.prompts.words import from_words
from vlprompt.randomness import seeded

STD = 0.02  # of prompts that start from noise, in both towers (clip/model.py)


@dataclass(frozen=True)
class DeepConfig(Settings):
    """Sizes and start of deep prompts in both towers; a tower of depth 0 has none, whatever its number of tokens."""

    n_text: CountOrZero = 2  # learned tokens in each layer of the text tower
    depth_text: CountOrZero = 12  # layers of the text tower with learned tokens, the input included
    n_vision: CountOrZero = 2  # learned tokens in each layer of the image tower
    depth_vision: CountOrZero = 12  # layers of the image tower with learned tokens, the input included
    words: str = "a photo of a"  # the first n_text tokens start the text prompt, the others stay; "" for noise

    def __post_init__(self) -> None:
        """Raise UsageError where nothing would be learned, or a tower has depth without tokens."""
        super().__post_init__()
        if (self.depth_text and not self.n_text) or (self.depth_vision and not self.n_vision):
            raise UsageError(
                f"n_text {self.n_text}, depth_text {self.depth_text}, n_vision {self.n_vision}, depth_vision "
                f"{self.depth_vision}: a tower with depth needs 1 token or more; depth 0 leaves a tower as it is."
            )
        if not (self.depth_text or self.depth_vision):
            raise UsageError("both towers have depth 0, so there is nothing to learn; use zero_shot.")


D = TypeVar("D", bound=DeepConfig)


class DeepPrompts(nn.Module):
    """Independent learned tokens of both towers.

    Attributes:
        text: (J, n, D) parameter of the text tower; None at depth 0.
        vision: (J, n, D) parameter of the image tower; None at depth 0.
        words: The words of the texts that are not learned.
    """

    text: nn.Parameter | None
    vision: nn.Parameter | None

    def __init__(self, clip: Clip, config: DeepConfig, *, seed: int) -> None:
        """Start the text prompts of the input from words, all others from noise.

        Raises:
            UsageError: A tower has fewer layers than J, or the words have too few tokens.
        """
        super().__init__()
        text = vision = None
        if config.depth_text:
            check_depth("depth_text", config.depth_text, "text", clip.text_layers)
        if config.depth_vision:
            check_depth("depth_vision", config.depth_vision, "image", clip.vision_layers)
        learned, self.words = split_words(clip, config.words, config.n_text if config.depth_text else 0)
        with seeded(seed):
            if config.depth_text:
                text = STD * torch.randn(config.depth_text, config.n_text, clip.text_width)
            if config.depth_vision:
                vision = STD * torch.randn(config.depth_vision, config.n_vision, clip.vision_width)
        if text is not None and learned:
            text[0] = from_words(clip, learned)
        self.register_parameter("text", None if text is None else nn.Parameter(text.to(clip.device)))
        self.register_parameter("vision", None if vision is None else nn.Parameter(vision.to(clip.device)))


class DeepLearner(CosineLearner[D], abc.ABC):
    """A learner of independent deep prompts.

    Attributes:
        prompts: The learned tokens of both towers.
        layout: The texts of the current classes.
    """

    needs = Needs(input=Input.IMAGES)

    def __init__(self, clip: Clip, classes: Sequence[str], config: D | None = None, *, seed: int = 0) -> None:
        super().__init__(clip, classes, config, seed=seed)
        self.prompts = DeepPrompts(clip, self.config, seed=seed)
        self.rebuild()

    def rebuild(self) -> None:
        """Lay out the texts of the current class names; texts without learned tokens are encoded here, once."""
        clip, slots = self.backbone, 0 if self.prompts.text is None else self.prompts.text.shape[1]
        self.layout = PromptLayout(clip, self.classes, slots, fixed=self.prompts.words)
        if self.prompts.text is None:
            with torch.no_grad():
                self._plain = clip.encode_text(self.layout.fill(self.layout.words.new_zeros(1, 0, clip.text_width)))

    def text(self) -> Tensor:
        """(1, C, E) text features."""
        if self.prompts.text is None:
            return self._plain
        first, later = self.prompts.text[:1], self.prompts.text[1:]
        return self.backbone.encode_text(self.layout.fill(first, dict(enumerate(later, start=1))))

    def image_features(self, batch: Batch) -> Tensor:
        """(B, E) of the prompted image tower."""
        prompt = NO_PROMPT if self.prompts.vision is None else by_layer(self.prompts.vision)
        return self.backbone.encode_image(images_of(batch), prompt)

    def soft_tokens(self) -> Mapping[str, Tensor]:
        """The tokens at the text tower's input; those of later layers are not among words."""
        return {} if self.prompts.text is None else {"prompts": self.prompts.text[0]}


def by_layer(tokens: Iterable[Tensor]) -> VisualPrompt:
    """One (n, D) image prompt for each of the first layers, which replaces the one before."""
    return VisualPrompt(dict(enumerate(tokens)))


def split_words(clip: Clip, words: str, count: int) -> tuple[str, str]:
    """The words that make up the first `count` tokens, which are learned, and the words that stay.

    Raises:
        UsageError: The words have fewer tokens, or the last learned token ends inside a word.
    """
    parts = words.replace("_", " ").split()
    for end in range(len(parts) + 1):
        if len(clip.tokenizer.pieces(" ".join(parts[:end]))) == count:
            return " ".join(parts[:end]), " ".join(parts[end:])
    if not parts:
        return "", ""
    total = len(clip.tokenizer.pieces(" ".join(parts)))
    raise UsageError(
        f"{count} learned tokens cannot start from {words!r}, which has {total}; choose words whose first {count} "
        "tokens are whole words, or none to start from noise."
    )


def check_depth(name: str, depth: int, tower: str, layers: int) -> None:
    """Raise UsageError for a depth that a tower does not have."""
    if depth > layers:
        raise UsageError(f"{name} is {depth}, the {tower} tower has {layers} layers; give at most {layers}.")
