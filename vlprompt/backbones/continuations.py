"""What a language model says at several places, and what it remembers of a text that others begin with."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.prefixes import cache_name, contents, empty_cache
from vlprompt.backbones.readout import at, every_row, reading
from vlprompt.backbones.sequences import NOTHING, Sequences, Steering
from vlprompt.backbones.text_encoding import at_least_float32


def log_probs(
    lm: LanguageModel, texts: Sequences, count: int = 1, prompt: Steering = NOTHING, begun: Sequence[int] = ()
) -> Tensor:
    """Log-probabilities (B, count, V) at the read-out and at the places behind it.

    Args:
        lm: The model.
        texts: B texts.
        count: Places; blanks of a masked model, else at most one more than the answer has begun with.
        prompt: What is learned.
        begun: The first pieces of the answer, which a causal model or a decoder goes on from.

    Raises:
        UsageError: The answer would stand where a text has tokens.
    """
    if lm.kind == "causal":
        texts = texts.continued(begun)

    def answer(some: Sequences) -> Tensor:
        read = _decoded if lm.kind == "encoder-decoder" else _placed
        return at_least_float32(read(lm, some, count, prompt, begun)).log_softmax(-1)

    return lm.by_length(texts, answer)


def _decoded(lm: LanguageModel, texts: Sequences, count: int, prompt: Steering, begun: Sequence[int]) -> Tensor:
    """Scores (B, count, V) behind what a decoder has begun with."""
    known = torch.tensor([begun], dtype=torch.long, device=lm.device)
    started = torch.cat([lm.decoder_ids, known], dim=1).expand(len(texts), -1)
    found: Tensor = lm.run(texts, prompt, decoder_input_ids=started).logits
    return found[:, 1 : count + 1]


def _placed(lm: LanguageModel, texts: Sequences, count: int, prompt: Steering, _: Sequence[int]) -> Tensor:
    """Scores (B, count, V) at so many places of the texts."""
    places = texts.read[:, None] + torch.arange(count, device=lm.device)  # (B, count)
    if lm.head == "whole vocabulary":
        return at(lm.run(texts, prompt).logits, places)
    with reading(lm.model, places, every_row(lm.model)):
        found: Tensor = lm.run(texts, prompt).logits
    return found if found.shape[1] == count else at(found, places)


@torch.no_grad()
def remembered(lm: LanguageModel, ids: Tensor) -> Steering:
    """What (T,) tokens leave behind in every layer of a causal model: a prefix that stands exactly for them.

    Raises:
        VlpromptError: The model takes no prefix.
    """
    kept, base, layers = empty_cache(), lm.model.base_model, lm.prefix_shapes[0][0]
    inputs = {"input_ids": ids[None].to(lm.device), cache_name(base): kept, "use_cache": True}
    if lm.first_position is not None:
        inputs["position_ids"] = torch.arange(len(ids), device=lm.device)[None] + lm.first_position
    base(**inputs)
    return Steering.of_prefix(contents(kept), layers)
