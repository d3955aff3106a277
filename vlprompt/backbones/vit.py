"""Vit: a vision transformer of timm, frozen, that takes prompts."""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from vlprompt.backbones.clip import DTYPES
from vlprompt.backbones.fingerprint import fingerprint
from vlprompt.backbones.image_tokens import ImageTokens, can_be_taken_apart
from vlprompt.backbones.prompts import NONE, VisualPrompt
from vlprompt.backbones.text_encoding import at_least_float32
from vlprompt.data.transforms import Preprocess
from vlprompt.errors import unknown


class Vit(nn.Module):
    """A frozen image model of timm. Features are what its classifier would read, in float32 and not normalised.

    Attributes:
        name: What `load_vit` was asked for.
        precision: "fp32" or "bf16", the type it computes in; prompts stay float32.
        preprocess: The image size and normalisation it was trained with.
        embed_dim: E, the width of its features.
    """

    def __init__(
        self, model: Any, preprocess: Preprocess, *, name: str = "custom", precision: str = "fp32"
    ) -> None:
        """Freeze a model and take its classifier off.

        Args:
            model: A model of timm. Any gives features; which ones take prompts is said when they are first prompted.
            preprocess: Image size, mean, deviation and interpolation.
            name: How to call it in results.
            precision: "fp32" or "bf16".
        """
        super().__init__()
        if precision not in DTYPES:
            raise unknown("precision", precision, DTYPES)
        self.name, self.precision, self.preprocess = name, precision, preprocess
        model.reset_classifier(0)
        self.model = model.requires_grad_(False).eval()
        self.embed_dim = int(getattr(model, "head_hidden_size", model.num_features))
        if precision != "fp32":
            self.fingerprint = fingerprint(model)  # of the weights as they were stored
            self.model.to(DTYPES[precision])

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with the weights."""
        return fingerprint(self.model)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device  # type: ignore[no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        """The type it computes in."""
        return next(self.model.parameters()).dtype  # type: ignore[no-any-return]

    @cached_property
    def image_tokens(self) -> ImageTokens:
        """The model as prompts see it, checked when it is first asked for."""
        return ImageTokens(self.model)

    @cached_property
    def in_steps(self) -> bool:
        """Whether it can be run step by step, which costs less than its own forward."""
        return can_be_taken_apart(lambda: self.image_tokens)

    @property
    def vision_width(self) -> int:
        """D, the width of an image token."""
        return self.image_tokens.width

    @property
    def vision_layers(self) -> int:
        """How many layers prompts can enter."""
        return self.image_tokens.layers

    def train(self, mode: bool = True) -> "Vit":  # noqa: ARG002
        """Stay in evaluation mode: a frozen model has no other."""
        return super().train(False)

    def encode_image(self, images: Tensor, prompt: VisualPrompt = NONE) -> Tensor:
        """(B, 3, H, W) normalised images, with prompts beside their own tokens -> (B, E) features.

        Raises:
            VlpromptError: There are prompts, and the model cannot take them.
        """
        images = images.to(self.device, self.dtype)
        if prompt.tokens or prompt.prefixes or self.in_steps:
            return self.image_tokens(images, prompt)
        return at_least_float32(self.model(images))
