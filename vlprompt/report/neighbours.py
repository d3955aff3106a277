"""The vocabulary words nearest to learned tokens, by cosine, as Lester et al. 2021 (section 7) interpret them.

A token far from all words has nearest words too. So each is shown with its cosines, with its norm relative to that of
the vocabulary, and with the cosine to its initial value.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Token:
    """One learned token.

    Attributes:
        name: Its tensor and index, as in "context[3]".
        words: The nearest words, nearest first.
        cosines: The cosine with each word.
        norm: Its norm as a share of the mean norm of words.
        start: The cosine with its initial value.
    """

    name: str
    words: tuple[str, ...]
    cosines: tuple[float, ...]
    norm: float
    start: float


def neighbours(
    tokens: "Mapping[str, Tensor]", starts: "Mapping[str, Tensor]", table: "Tensor", words: Sequence[str], count: int
) -> Iterator[Token]:
    """Every token with its nearest words.

    Args:
        tokens: (..., D) by name.
        starts: The same before training.
        table: (V, D) embeddings of words.
        words: V words.
        count: Words for each token, at most V.
    """
    import torch.nn.functional as F

    unit, mean_norm = F.normalize(table, dim=-1), table.norm(dim=-1).mean()
    for name, value in tokens.items():
        turned = F.cosine_similarity(value, starts[name], dim=-1).flatten().tolist()
        flat = value.flatten(0, -2)  # (n, D)
        near = (F.normalize(flat, dim=-1) @ unit.T).topk(min(count, len(words)))
        norms = (flat.norm(dim=-1) / mean_norm).tolist()
        for place, (cosines, ids) in enumerate(zip(near.values.tolist(), near.indices.tolist(), strict=True)):
            nearest = tuple(words[word] for word in ids)
            yield Token(_indexed(name, place, value.shape[:-1]), nearest, tuple(cosines), norms[place], turned[place])


def lines(tokens: Sequence[Token]) -> str:
    """A line of text for each token."""
    width = max(len(token.name) for token in tokens)
    shown = []
    for token in tokens:
        near = ", ".join(f"{word} {cosine:.2f}" for word, cosine in zip(token.words, token.cosines, strict=True))
        shown.append(f"{token.name:<{width}}  norm {token.norm:5.2f}  start {token.start:5.2f}  {near}")
    return "\n".join(shown)


def _indexed(name: str, place: int, shape: Sequence[int]) -> str:
    """The name of a row of a flattened (..., D) tensor."""
    indices: list[str] = []
    for size in reversed(shape):
        place, index = divmod(place, size)
        indices.insert(0, str(index))
    return f"{name}[{', '.join(indices)}]"
