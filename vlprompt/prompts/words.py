"""How a learned context starts: from words or from noise."""

import torch
from torch import Tensor

from vlprompt.backbones.clip import Clip
from vlprompt.errors import UsageError
from vlprompt.randomness import normal


def from_words(clip: Clip, words: str) -> Tensor:
    """The embeddings of some words' tokens, (M, D); underscores count as spaces ("a_photo_of_a").

    M is the number of tokens, not of words as in the official code, which misplaces a word of several tokens.

    Raises:
        UsageError: There are no words.
    """
    pieces = clip.tokenizer.warn_untrained(clip.tokenizer.pieces(words.replace("_", " ")))
    if not pieces:
        raise UsageError(f"no words to start from in {words!r}; give some, such as 'a photo of a'.")
    return clip.embed_tokens(torch.tensor(pieces))


def start_context(clip: Clip, words: str, *shape: int, seed: int) -> Tensor:
    """The initial value of a context (..., M, D): the embeddings of words, or noise.

    Args:
        clip: The model whose embeddings are used.
        words: Words whose tokens set M; "" for noise.
        shape: (..., M), the shape of noise without the last dimension; words are repeated over the leading dimensions.
        seed: Of the noise.
    """
    if not words:
        return normal(*shape, clip.text_width, seed=seed).to(clip.device)
    start = from_words(clip, words)
    return start.expand(*shape[:-1], *start.shape).clone()
