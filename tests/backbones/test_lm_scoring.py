"""Log-probabilities at several positions equal the library's; a prefix of tokens equals the tokens."""

from collections.abc import Callable

import pytest
import torch

from tests.backbones.lm_texts import KINDS, left_padded
from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import Row, Sequences
from vlprompt.backbones.lm_scoring import log_probs, prefix_of_tokens
from vlprompt.errors import UsageError


def ending(lm: LanguageModel) -> list[Row]:
    """Texts that are read at their end, or two positions before it for masked models."""
    made = []
    for text in ("the film was great . it was", "i saw the story", "a probe of the model"):
        ids = [*lm.vocabulary.lead, *lm.vocabulary.pieces(text)]
        made.append(Row(tuple(ids), len(ids) - (3 if lm.kind == "masked" else 1)))
    return made


@pytest.mark.parametrize("name", KINDS)
def test_log_probs_at_several_positions_equal_the_librarys(name: str, make_lm: Callable[..., LanguageModel]) -> None:
    """For a masked model at its positions, for others after the first tokens of the answer."""
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


def test_an_answer_inside_a_text_is_refused(tiny_lm: Callable[[str], LanguageModel]) -> None:
    lm = tiny_lm("gpt2")
    with pytest.raises(UsageError, match="text 0 continues after position 0; an answer cannot follow it"):
        log_probs(lm, Sequences.of([Row((5, 6, 7), 0)]), 2, begun=(3,))


def test_a_prefix_of_tokens_equals_the_tokens(make_lm: Callable[..., LanguageModel]) -> None:
    lm, words = make_lm("gpt2"), torch.arange(20)
    head, tail = lm.vocabulary.pieces("i saw the film ."), lm.vocabulary.pieces(" it was")
    whole = lm.scores(Sequences.of([Row((*head, *tail), len(head) + len(tail) - 1)]), words)
    with torch.no_grad():
        kept = prefix_of_tokens(lm, torch.tensor(head))
    found = lm.scores(Sequences.of([Row(tuple(tail), len(tail) - 1)] * 2), words, kept)
    torch.testing.assert_close(found, whole.expand(2, -1), rtol=0, atol=1e-5)
