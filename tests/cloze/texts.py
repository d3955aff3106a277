"""Short texts and batches of them, and the library's own scores at a blank."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

import vlprompt as vp
from vlprompt.backbones.lm import LanguageModel
from vlprompt.data.batch import Batch
from vlprompt.data.batches import Batches, text_batches

TEMPLATE = "{text} it was {mask}"
KINDS = ("bert", "roberta", "gpt2", "t5")
NOUNS = ("film", "story", "actor", "music")


def batch(*texts: str | vp.Text, labels: Sequence[int] = ()) -> Batch:
    """A batch of texts."""
    made = Batch.of_texts(texts)
    return replace(made, labels=torch.tensor(labels)) if labels else made


def examples(texts: Sequence[str], labels: Sequence[int]) -> tuple[vp.Example, ...]:
    """Labelled examples with the one field `text`."""
    return tuple(vp.Example(vp.Text.of(text=text), label) for text, label in zip(texts, labels, strict=True))


def opinions(*nouns: str) -> tuple[vp.Example, ...]:
    """Two examples for each noun: a dull one with label 0 and a fine one with label 1."""
    texts = [f"the {noun} was {word} ." for noun in nouns for word in ("dull", "fine")]
    return examples(texts, [0, 1] * len(nouns))


def shuffled(texts: Sequence[str], labels: Sequence[int]) -> Batches:
    """Training batches, all examples in each."""
    return text_batches(examples(texts, labels), batch_size=len(texts), seed=1)


def first_pieces(lm: LanguageModel, words: Sequence[Sequence[str]]) -> list[list[int]]:
    """The id of each label word's first piece."""
    return [[lm.vocabulary.pieces(" " + word)[0] for word in own] for own in words]


def own_scores(lm: LanguageModel, text: str, extra: tuple[int, ...] = ()) -> Tensor:
    """(V,) scores of the vocabulary at the blank of "TEXT it was EXTRA BLANK", by the library's own forward alone."""
    return own_logits(lm, [*lm.vocabulary.pieces(text), *lm.vocabulary.pieces(" it was"), *extra])


@torch.no_grad()
def own_logits(lm: LanguageModel, pieces: list[int]) -> Tensor:
    """(V,) scores at the blank that follows a row of pieces."""
    blank = [] if lm.kind == "causal" else [lm.vocabulary.blank]
    tail = [] if lm.kind == "causal" else lm.vocabulary.tail
    ids = torch.tensor([[*lm.vocabulary.lead, *pieces, *blank, *tail]])
    if lm.kind == "encoder-decoder":
        decoder = torch.tensor([[lm.model.config.decoder_start_token_id, lm.vocabulary.blank]])
        return lm.model(input_ids=ids, decoder_input_ids=decoder).logits[0, 1]
    return lm.model(input_ids=ids).logits[0, ids.shape[1] - len(tail) - 1]
