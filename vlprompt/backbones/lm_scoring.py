"""Log-probabilities of a language model at several positions, and the prefix that replaces a text's first tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_head import at, replaced_head, rows_only
from vlprompt.backbones.lm_inputs import NO_SOFT_PROMPT, Sequences, SoftPrompt
from vlprompt.backbones.outputs import at_least_float32
from vlprompt.backbones.prefixes import cache_contents, cache_name, empty_cache


def log_probs(
    lm: LanguageModel, texts: Sequences, count: int = 1, prompt: SoftPrompt = NO_SOFT_PROMPT, begun: Sequence[int] = ()
) -> Tensor:
    """Log-probabilities (B, count, V) at the read-out position and the positions after it.

    Args:
        lm: The model.
        texts: B texts.
        count: Number of positions: blanks of a masked model, else at most one more than `begun` has tokens.
        prompt: Learned tokens or prefix.
        begun: The first tokens of the answer, which a causal model or a decoder continues.

    Raises:
        UsageError: A text has tokens where the answer would be.
    """
    if lm.kind == "causal":
        texts = texts.continued(begun)

    def answer(some: Sequences) -> Tensor:
        if lm.kind == "encoder-decoder":
            scores = _decoder_scores(lm, some, prompt, begun)[:, 1 : count + 1]
        else:
            scores = _scores_at(lm, some, prompt, count)
        return at_least_float32(scores).log_softmax(-1)

    return lm.by_length(texts, answer)


def _decoder_scores(lm: LanguageModel, texts: Sequences, prompt: SoftPrompt, begun: Sequence[int]) -> Tensor:
    """Scores (B, 2 + n, V) of a decoder: at its start, at the blank, and after each of n tokens of the answer."""
    first = torch.tensor([begun], dtype=torch.long, device=lm.device)
    started = torch.cat([lm.decoder_ids, first], dim=1).expand(len(texts), -1)
    return lm.run(texts, prompt, decoder_input_ids=started).logits  # type: ignore[no-any-return]


def _scores_at(lm: LanguageModel, texts: Sequences, prompt: SoftPrompt, count: int) -> Tensor:
    """Scores (B, count, V) at consecutive positions from the read-out position on."""
    places = texts.read[:, None] + torch.arange(count, device=lm.device)  # (B, count)
    if lm.head == "whole vocabulary":
        return at(lm.run(texts, prompt).logits, places)
    with replaced_head(lm.model, places, rows_only(lm.model, slice(None))):
        scores: Tensor = lm.run(texts, prompt).logits
    return scores if scores.shape[1] == count else at(scores, places)


@torch.no_grad()
def prefix_of_tokens(lm: LanguageModel, ids: Tensor) -> SoftPrompt:
    """The keys and values of (T,) tokens in every layer of a causal model: a prefix with exactly the tokens' effect."""
    cache, base, layers = empty_cache(), lm.model.base_model, lm.prefix_shapes[0][0]
    inputs = {"input_ids": ids[None].to(lm.device), cache_name(base): cache, "use_cache": True}
    if lm.first_position is not None:
        inputs["position_ids"] = torch.arange(len(ids), device=lm.device)[None] + lm.first_position
    base(**inputs)
    return SoftPrompt.of_prefix(cache_contents(cache), layers)
