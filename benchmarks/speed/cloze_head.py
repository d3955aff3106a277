"""Class scores of a cloze: the head at the mask for the label words only, against the model's own forward pass.

RoBERTa-base with random weights, 16 texts of 128 tokens, two label words. Both sides use the same weights and ids and
must agree. `logits_mb` is the output of the head's last layer.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.common import models
from benchmarks.speed.common.baseline import difference
from benchmarks.speed.common.measure import compared, in_turn
from benchmarks.speed.common.models import WORDS, random_text
from benchmarks.speed.common.records import Record, misses
from vlprompt.backbones import LanguageModel
from vlprompt.backbones.lm_inputs import Sequences
from vlprompt.cloze.parts.rendering import Renderer
from vlprompt.cloze.parts.template import Template

BATCH, LENGTH, CLASSES = 16, 128, 2
FASTER, LESS_MEMORY, AGREEMENT = 1.3, 1000.0, 1e-5


def run(quick: bool = False) -> Iterator[Record]:
    """Time both sides in turn, and measure the outputs of their heads."""
    lm = models.roberta(quick)
    renderer = Renderer(Template("{text} it was {mask} ."), lm, max_length=LENGTH)
    texts = renderer([{"text": random_text(LENGTH, seed)} for seed in range(BATCH)])  # cut to LENGTH tokens
    words = torch.tensor([lm.vocabulary.pieces(word)[0] for word in WORDS[:CLASSES]])

    @torch.no_grad()
    def ours() -> Tensor:
        return lm.scores(texts, words)

    def plain() -> Tensor:
        return full_forward(lm, texts, words)

    (own, found), (slow, expected) = in_turn([(ours, 1), (plain, 1)], 1 if quick else 7)
    plain_bytes, own_bytes = logits_bytes(lm, plain), logits_bytes(lm, ours)
    figures = {
        **compared(own, slow),
        "ours_logits_mb": own_bytes / 1e6,
        "plain_logits_mb": plain_bytes / 1e6,
        "logits_times_less": plain_bytes / own_bytes,
        "scores_apart": difference(found, expected),
    }
    least = {"logits_times_less": LESS_MEMORY} if quick else {"times_faster": FASTER, "logits_times_less": LESS_MEMORY}
    about = {"model": lm.name, "batch": BATCH, "tokens": texts.ids.shape[1], "words": lm.vocabulary_size}
    yield Record("cloze_head", about, figures, misses(figures, least=least, most={"scores_apart": AGREEMENT}))


@torch.no_grad()
def full_forward(lm: LanguageModel, texts: Sequences, words: Tensor) -> Tensor:
    """(B, W) by the model's own forward pass, as in older toolkits: all positions, all words."""
    logits: Tensor = lm.model(input_ids=texts.ids, attention_mask=texts.mask).logits  # (B, T, V)
    return logits[torch.arange(len(texts)), texts.read][:, words]


def logits_bytes(lm: LanguageModel, call: Callable[[], Any]) -> int:
    """The bytes of all outputs of the head's last layer in a call."""
    sizes: list[int] = []
    head = lm.model.get_output_embeddings()
    hook = head.register_forward_hook(lambda module, given, output: sizes.append(output.nbytes))  # noqa: ARG005
    try:
        call()
    finally:
        hook.remove()
    return sum(sizes)
