"""Keys and values of every layer: a learned table, or the output of a small network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vlprompt.backbones.prefixes import PrefixShape


class PrefixEncoder(nn.Module):
    """A prefix (L, 2, H, P, d) computed from P learned vectors.

    Without a network the vectors are the keys and values (THUDM/P-tuning-v2, model/prefix_encoder.py); with one,
    [K; V] of all layers = W2 tanh(W1 p + b1) + b2 (PrefixTuning, gpt2/train_control.py). It runs once a batch, not once
    an example, with the same result.
    """

    def __init__(self, shape: PrefixShape, length: int, width: int, middle: int) -> None:
        """Initialise as torch does its embeddings and linear layers, as in both papers' code.

        Args:
            shape: (L, 2, H, d), the shape that the model's layers require.
            length: P.
            width: D of the vectors that the network reads.
            middle: Units of its hidden layer; 0: no network.
        """
        super().__init__()
        self.shape = shape
        size = shape[0] * shape[1] * shape[2] * shape[3]
        self.embedding = nn.Parameter(torch.randn(length, width if middle else size))
        network = nn.Sequential(nn.Linear(width, middle), nn.Tanh(), nn.Linear(middle, size)) if middle else None
        self.mlp = network

    def forward(self) -> Tensor:
        """The prefix (L, 2, H, P, d)."""
        flat = self.embedding if self.mlp is None else self.mlp(self.embedding)  # (P, L * 2 * H * d)
        return flat.reshape(-1, *self.shape).permute(1, 2, 3, 0, 4)


class Prefixes(nn.Module):
    """A prefix for every stack of layers, each with vectors and a network of its own, joined: (L, 2, H, P, d).

    A T5 has two stacks, the encoder and the decoder's self-attention, as in OpenPrompt's prefix template. (Li and
    Liang's BART has a third, for the decoder's attention to the encoder.)
    """

    def __init__(self, shapes: Sequence[PrefixShape], length: int, width: int, middle: int) -> None:
        """See `PrefixEncoder`; one shape for each stack."""
        super().__init__()
        self.stacks = nn.ModuleList(PrefixEncoder(shape, length, width, middle) for shape in shapes)

    def forward(self) -> Tensor:
        """The prefix (L, 2, H, P, d) of all layers."""
        return torch.cat([stack() for stack in self.stacks])
