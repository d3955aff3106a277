"""Base classes of the frozen models: weights that never change, a precision, a fingerprint, an image tower."""

import abc
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from vlprompt.backbones.fingerprint import fingerprint
from vlprompt.backbones.image_tokens import ImageTokens
from vlprompt.backbones.outputs import DTYPES, at_least_float32
from vlprompt.backbones.prompt_types import NO_PROMPT, VisualPrompt
from vlprompt.errors import UsageError, VlpromptError, unknown

CHUNK_TOKENS = 2048  # enough to fill a processor's matrix units, few enough for a laptop's memory


class FrozenBackbone(nn.Module):
    """A frozen model. Its outputs are float32 in every precision (float64 for a model in float64).

    Attributes:
        kind_name: What kind of model the class is, for errors.
        example: A model of this kind, for errors.
        model: The library's own module.
        name: The name it was loaded by.
        precision: "fp32" or "bf16", the type the model computes in; prompts stay float32.
    """

    kind_name: ClassVar[str]
    example: ClassVar[str]

    def __init__(self, model: nn.Module, name: str, precision: str) -> None:
        super().__init__()
        if precision not in DTYPES:
            raise unknown("precision", precision, DTYPES)
        self.name, self.precision = name, precision
        self.model: Any = model.requires_grad_(False).eval()
        if precision != "fp32":
            self.fingerprint = fingerprint(model)  # of the stored weights, before they are rounded
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
        """The type the model computes in."""
        return next(self.model.parameters()).dtype  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002
        """Stay in evaluation mode: a frozen model has no other."""
        return super().train(False)


class ImageBackbone(FrozenBackbone, abc.ABC):
    """A frozen model with an image tower that visual prompts can enter."""

    @property
    @abc.abstractmethod
    def visual(self) -> nn.Module:
        """The image tower."""

    @abc.abstractmethod
    def _library_features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images of the model's device and type -> (B, E), by the library's own forward."""

    @cached_property
    def image_tokens(self) -> ImageTokens:
        """The image tower, opened for prompts and checked at first use; VlpromptError if it cannot take any."""
        return ImageTokens(self.visual)

    @cached_property
    def in_steps(self) -> bool:
        """Whether the image tower can be run step by step, which is faster than the library's own forward."""
        try:
            _ = self.image_tokens
        except VlpromptError:  # this matters only if prompts are given later
            return False
        return True

    @property
    def vision_width(self) -> int:
        """D, the width of an image token."""
        return self.image_tokens.width

    @property
    def vision_layers(self) -> int:
        """The number of layers of the image tower, each of which prompts can enter."""
        return self.image_tokens.layers

    def encode_image(self, images: Tensor, prompt: VisualPrompt = NO_PROMPT) -> Tensor:
        """Encode (B, 3, H, W) normalised images, with prompt tokens beside their own, as (B, E) features.

        Raises:
            VlpromptError: A prompt is given and the image tower cannot take one.
        """
        if prompt.tokens or prompt.prefixes or self.in_steps:
            return self.image_tokens(images.to(self.device), prompt)
        return at_least_float32(self._library_features(images.to(self.device, self.dtype)))


def check_kind(method: str, accepted: Sequence[type[Any]], backbone: Any) -> None:
    """Raise UsageError if a backbone is of another kind than a method accepts."""
    if isinstance(backbone, FrozenBackbone) and not isinstance(backbone, tuple(accepted)):
        needed, given = accepted[0], backbone.kind_name
        raise UsageError(
            f"{method} needs {needed.kind_name}, such as {needed.example}; {backbone.name} is {given}. Choose another "
            f"backbone, or a method that works with {given}."
        )
