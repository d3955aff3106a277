"""A prompt that a network makes while it is trained, and that stands alone afterwards."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Reparameterised(nn.Module):
    """What an encoder makes; once it is dropped, the same numbers as a parameter.

    Attributes:
        encoder: Called without arguments; None once it is dropped.
        value: What it made last, learned as it is from then on; None before.
    """

    encoder: nn.Module | None
    value: nn.Parameter | None

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_parameter("value", None)

    def forward(self) -> Tensor:
        """The prompt."""
        made: Tensor | None = self.value if self.encoder is None else self.encoder()
        assert made is not None  # one of the two is always there
        return made

    @torch.no_grad()
    def drop(self) -> None:
        """Keep what the encoder makes and forget the encoder."""
        if self.encoder is not None:
            made = self.eval()()
            self.encoder, self.value = None, nn.Parameter(made.clone())

    def make_room(self, tensors: Mapping[str, Tensor], name: str) -> None:
        """Drop the encoder where a checkpoint has none."""
        if f"{name}.value" in tensors:
            self.drop()
