"""What learned tokens are near to: words of the vocabulary by cosine, as Lester et al. 2021 (section 7) look at theirs.

A token far from all words has nearest ones too. So each is shown with its cosines, with its norm beside that of the
vocabulary's rows, and with how far it has turned from where it started.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Token:
    """One learned token.

    Attributes:
        name: Which it is, as in "context[3]".
        words: The nearest words, nearest first.
        cosines: How near each is.
        norm: Its norm as a share of the mean norm of words.
        start: Cosine with where it started.
    """

    name: str
    words: tuple[str, ...]
    cosines: tuple[float, ...]
    norm: float
    start: float


def neighbours(
    tokens: Mapping[str, Tensor], starts: Mapping[str, Tensor], table: Tensor, words: Sequence[str], count: int
) -> Iterator[Token]:
    """Every token with its nearest words.

    Args:
        tokens: (..., D) by name.
        starts: The same before training.
        table: (V, D) embeddings of words.
        words: V words.
        count: How many to name, at most V.
    """
    unit, usual = F.normalize(table, dim=-1), table.norm(dim=-1).mean()
    for name, value in tokens.items():
        turned = F.cosine_similarity(value, starts[name], dim=-1).flatten().tolist()
        flat = value.flatten(0, -2)  # (n, D)
        near = (F.normalize(flat, dim=-1) @ unit.T).topk(min(count, len(words)))
        norms = (flat.norm(dim=-1) / usual).tolist()
        for place, (cosines, ids) in enumerate(zip(near.values.tolist(), near.indices.tolist(), strict=True)):
            said = tuple(words[word] for word in ids)
            yield Token(_place(name, place, value.shape[:-1]), said, tuple(cosines), norms[place], turned[place])


def lines(tokens: Sequence[Token]) -> str:
    """A line for each token."""
    wide = max(len(token.name) for token in tokens)
    shown = []
    for token in tokens:
        near = ", ".join(f"{word} {cosine:.2f}" for word, cosine in zip(token.words, token.cosines, strict=True))
        shown.append(f"{token.name:<{wide}}  norm {token.norm:5.2f}  start {token.start:5.2f}  {near}")
    return "\n".join(shown)


def _place(name: str, place: int, shape: Sequence[int]) -> str:
    """The name of a row of a flattened (..., D) tensor."""
    indices: list[str] = []
    for size in reversed(shape):
        place, index = divmod(place, size)
        indices.insert(0, str(index))
    return f"{name}[{', '.join(indices)}]"
