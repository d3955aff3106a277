"""A prompt that a network computes during training; afterwards only its values are saved (a reparameterisation)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class EncodedPrompt(nn.Module):
    """The output of an encoder; after `drop`, the same numbers as a parameter.

    Attributes:
        encoder: Called without arguments; None after `drop`.
        value: The last output, a parameter; None before `drop`.
    """

    encoder: nn.Module | None
    value: nn.Parameter | None

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_parameter("value", None)

    def forward(self) -> Tensor:
        """The prompt."""
        prompt: Tensor | None = self.value if self.encoder is None else self.encoder()
        assert prompt is not None  # one of the two exists
        return prompt

    @torch.no_grad()
    def drop(self) -> None:
        """Replace the encoder by its output."""
        if self.encoder is not None:
            prompt = self.eval()()
            self.encoder, self.value = None, nn.Parameter(prompt.clone())


class DropsEncoder:
    """Mixin of learners with an `EncodedPrompt`: its encoder is dropped after the last epoch."""

    prompt: EncodedPrompt

    def end_epoch(self, epoch: int, epochs: int) -> None:
        """Drop the encoder after the last epoch."""
        if epoch == epochs:
            self.prompt.drop()

    def resize_for(self, tensors: Mapping[str, Tensor]) -> None:
        """Drop the encoder where the saved prompt has none."""
        if "prompt.value" in tensors:
            self.prompt.drop()
