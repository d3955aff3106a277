"""A cloze's scores: the head at the blank for the label words' rows, against the model's own forward for all words.

    python -m benchmarks.speed.cloze_head [--quick]

RoBERTa-base with random weights, 16 texts of 128 tokens, two label words. Both sides use the same weights and ids and
must agree. `logits_mb` is what comes out of the head's last layer.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.lms import WORDS, roberta, text
from benchmarks.speed.measure import Record, in_turn, main, misses
from benchmarks.speed.plain import difference
from vlprompt.backbones import LanguageModel
from vlprompt.backbones.sequences import Sequences
from vlprompt.cloze.rendering import Renderer
from vlprompt.cloze.template import Template

BATCH, LENGTH, CLASSES = 16, 128, 2
FASTER, LESS_MEMORY, EXACT = 1.3, 1000.0, 1e-5


def run(quick: bool = False) -> Iterator[Record]:
    """Time both sides in turn, and weigh what their heads give."""
    lm = roberta(quick)
    renderer = Renderer(Template("{text} it was {mask} ."), lm, max_length=LENGTH)
    texts = renderer([{"text": text(LENGTH, seed)} for seed in range(BATCH)])  # longer than there is room: cut to it
    words = torch.tensor([lm.vocabulary.pieces(word)[0] for word in WORDS[:CLASSES]])

    @torch.no_grad()
    def ours() -> Tensor:
        return lm.scores(texts, words)

    def plain() -> Tensor:
        return whole(lm, texts, words)

    (own, found), (slow, wanted) = in_turn([(ours, 1), (plain, 1)], 1 if quick else 7)
    heavy, light = logits_bytes(lm, plain), logits_bytes(lm, ours)
    figures = {
        "ours_s": own,
        "plain_s": slow,
        "times_faster": slow / own,
        "ours_logits_mb": light / 1e6,
        "plain_logits_mb": heavy / 1e6,
        "logits_times_less": heavy / light,
        "scores_apart": difference(found, wanted),
    }
    least = {"logits_times_less": LESS_MEMORY} if quick else {"times_faster": FASTER, "logits_times_less": LESS_MEMORY}
    about = {"model": lm.name, "batch": BATCH, "tokens": texts.ids.shape[1], "words": lm.vocabulary_size}
    yield Record("cloze_head", about, figures, misses(figures, least=least, most={"scores_apart": EXACT}))


@torch.no_grad()
def whole(lm: LanguageModel, texts: Sequences, words: Tensor) -> Tensor:
    """(B, W) by the model's own forward, as the older toolkits have it: all positions, all words."""
    logits: Tensor = lm.model(input_ids=texts.ids, attention_mask=texts.mask).logits  # (B, T, V)
    return logits[torch.arange(len(texts)), texts.read][:, words]


def logits_bytes(lm: LanguageModel, call: Callable[[], Any]) -> int:
    """The bytes that the head's last layer gives in a call."""
    sizes: list[int] = []
    head = lm.model.get_output_embeddings()
    hook = head.register_forward_hook(lambda module, given, found: sizes.append(found.nbytes))  # noqa: ARG005
    try:
        call()
    finally:
        hook.remove()
    return sum(sizes)


if __name__ == "__main__":
    sys.exit(main(run))
