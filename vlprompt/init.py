"""How a prompt starts: from noise or from words."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from vlprompt.backbones.clip import Clip
from vlprompt.errors import UsageError


def normal(*shape: int, seed: int, std: float = 0.02) -> Tensor:
    """Draw from N(0, std^2); 0.02 is CLIP's own spread of token embeddings (CoOp, section 4.1)."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * std


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """While open, torch's own initialisers draw from this seed; the caller's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def from_words(clip: Clip, words: str) -> Tensor:
    """The embeddings of some words' tokens, (M, D); underscores count as spaces ("a_photo_of_a").

    M is the number of tokens, not of words as in the official code, which misplaces a word of several tokens.

    Raises:
        UsageError: There are no words.
    """
    pieces = clip.tokenizer.check(clip.tokenizer.pieces(words.replace("_", " ")))
    if not pieces:
        raise UsageError(f"no words to start from in {words!r}; give some, such as 'a photo of a'.")
    return clip.embed_tokens(torch.tensor(pieces))
