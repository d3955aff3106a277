"""How a learned context starts: from words or from noise."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from vlprompt.backbones.clip import Clip
from vlprompt.config import CountOrZero, Settings
from vlprompt.errors import UsageError, warn
from vlprompt.randomness import normal


@dataclass(frozen=True)
class StartConfig(Settings):
    """The size and the start of a context: as many tokens as its words have, or M of noise."""

    n_ctx: CountOrZero = 0  # M, of a context that starts from noise; 0: the method's own number
    words: str = ""  # the words it starts from; "" for noise

    def check_changed(self, names: Collection[str]) -> None:
        """Raise UsageError where M was changed and words decide the number of tokens."""
        if "n_ctx" in names and self.words:
            raise UsageError(
                f"n_ctx={self.n_ctx} has no effect: the context starts from the words {self.words!r} and has as many "
                "tokens as they have. Set words to nothing as well (words=) to start from noise, or leave n_ctx out."
            )


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


def start_context(clip: Clip, config: StartConfig, *leading: int, tokens: int, seed: int) -> Tensor:
    """The initial value of a context (..., M, D): the embeddings of words, or noise.

    It warns where M is given and the words have another number of tokens.

    Args:
        clip: The model whose embeddings are used.
        config: The words whose tokens set M; without any, M.
        leading: The dimensions before M.
        tokens: M without words and where the config has none.
        seed: Of the noise.
    """
    if not config.words:
        return normal(*leading, config.n_ctx or tokens, clip.text_width, seed=seed).to(clip.device)
    start = from_words(clip, config.words)
    if config.n_ctx not in (0, len(start)):
        warn(
            f"n_ctx={config.n_ctx} has no effect: the context starts from the words {config.words!r} and has their "
            f"{len(start)} tokens; give words='' to start from noise."
        )
    return start.expand(*leading, *start.shape).clone()
