"""What is said at several places is what the library says there; what is remembered stands for its text."""

from collections.abc import Callable

import pytest
import torch

from vlprompt.backbones.continuations import log_probs, remembered
from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.sequences import Row, Sequences
from vlprompt.errors import UsageError

KINDS = ["bert", "roberta", "gpt2", "t5"]


def ending(lm: LanguageModel) -> list[Row]:
    """Texts that are read at their end, two places before it where there may be blanks."""
    made = []
    for text in ("the film was great . it was", "i saw the story", "a probe of the model"):
        ids = [*lm.vocabulary.lead, *lm.vocabulary.pieces(text)]
        made.append(Row(tuple(ids), len(ids) - (3 if lm.kind == "masked" else 1)))
    return made


def left_padded(texts: list[Row]) -> Sequences:
    longest = max(len(row.ids) for row in texts)
    ids = torch.tensor([[0] * (longest - len(row.ids)) + list(row.ids) for row in texts])
    mask = torch.tensor([[0] * (longest - len(row.ids)) + [1] * len(row.ids) for row in texts])
    return Sequences(ids, mask, torch.tensor([longest - len(row.ids) + row.read for row in texts]))


@pytest.mark.parametrize("name", KINDS)
def test_log_probabilities_at_several_places_are_the_librarys(name: str, make_lm: Callable[..., LanguageModel]) -> None:
    """Of a masked model at its places, of others behind what has been said."""
    lm = make_lm(name)
    said = () if lm.kind == "masked" else (7, 2)
    texts = Sequences.of(ending(lm))
    wanted = []
    for row in ending(lm):
        with torch.no_grad():
            if lm.kind == "encoder-decoder":
                decoder = torch.tensor([[0, lm.vocabulary.blank, *said]])
                found = lm.model(input_ids=torch.tensor([row.ids]), decoder_input_ids=decoder).logits[0, 1:]
            else:
                found = lm.model(input_ids=torch.tensor([[*row.ids, *said]])).logits[0, row.read :]
        wanted.append(found.log_softmax(-1))
    found = log_probs(lm, texts, 3, begun=said)
    torch.testing.assert_close(found, torch.stack(wanted), rtol=0, atol=1e-4)
    with torch.no_grad():
        lm.chunk_tokens = 12
        torch.testing.assert_close(log_probs(lm, texts, 3, begun=said), found, rtol=0, atol=1e-4)
    if lm.first_position is not None:
        padded = left_padded(ending(lm))
        torch.testing.assert_close(log_probs(lm, padded, 3, begun=said), found, rtol=0, atol=1e-4)
    lm.head = "whole vocabulary"
    torch.testing.assert_close(log_probs(lm, texts, 3, begun=said), found, rtol=0, atol=1e-4)


def test_an_answer_stands_behind_a_text_only(tiny_lm: Callable[[str], LanguageModel]) -> None:
    lm = tiny_lm("gpt2")
    with pytest.raises(UsageError, match="text 0 goes on behind place 0, so no answer can stand there"):
        log_probs(lm, Sequences.of([Row((5, 6, 7), 0)]), 2, begun=(3,))


def test_what_a_causal_model_remembers_stands_for_the_text(make_lm: Callable[..., LanguageModel]) -> None:
    lm, words = make_lm("gpt2"), torch.arange(20)
    head, tail = lm.vocabulary.pieces("i saw the film ."), lm.vocabulary.pieces(" it was")
    whole = lm.scores(Sequences.of([Row((*head, *tail), len(head) + len(tail) - 1)]), words)
    with torch.no_grad():
        kept = remembered(lm, torch.tensor(head))
    found = lm.scores(Sequences.of([Row(tuple(tail), len(tail) - 1)] * 2), words, kept)
    torch.testing.assert_close(found, whole.expand(2, -1), rtol=0, atol=1e-5)
