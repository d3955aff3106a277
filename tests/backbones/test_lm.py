"""Scores of language models equal the library's, for every read-out position and padding."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.backbones.lm_texts import KINDS, OTHERS, left_padded, own, rows
from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import Row, Sequences, SoftPrompt
from vlprompt.errors import UsageError


def check_scores(lm: LanguageModel) -> None:
    words = torch.tensor([7, 2, 100])
    wanted = torch.stack([own(lm, row)[words] for row in rows(lm)])
    texts = Sequences.of(rows(lm))
    torch.testing.assert_close(lm.scores(texts, words), wanted, rtol=0, atol=1e-5)
    with torch.no_grad():  # by length, at most two texts at a time
        lm.chunk_tokens, before = 12, lm.chunk_tokens
        torch.testing.assert_close(lm.scores(texts, words), wanted, rtol=0, atol=1e-5)
        lm.chunk_tokens = before
    if lm.first_position is not None:
        torch.testing.assert_close(lm.scores(left_padded(rows(lm)), words), wanted, rtol=0, atol=1e-5)
    weight, bias = lm.word_rows(words)
    states = lm.states(texts)
    torch.testing.assert_close(
        nn.functional.linear(states, weight, bias), wanted, rtol=0, atol=1e-5, msg="states and word rows"
    )


@pytest.mark.parametrize("name", KINDS)
def test_scores_equal_the_models_own_for_every_position_and_padding(
    name: str, tiny_lm: Callable[[str], LanguageModel]
) -> None:
    lm = tiny_lm(name)
    assert lm.head == "rows only"
    check_scores(lm)


@pytest.mark.parametrize("name", OTHERS)
def test_scores_of_other_architectures(name: str, other_lm: Callable[[str], LanguageModel]) -> None:
    check_scores(other_lm(name))


@pytest.mark.parametrize("name", KINDS)
def test_soft_tokens_with_the_embeddings_of_words_equal_the_words(
    name: str, tiny_lm: Callable[[str], LanguageModel]
) -> None:
    lm = tiny_lm(name)
    row = rows(lm)[2]
    places = (1, 2)
    soft = Row(
        tuple(0 if i in places else word for i, word in enumerate(row.ids)),
        row.read,
        tuple(places.index(i) if i in places else -1 for i in range(len(row.ids))),
    )
    tokens = lm.embed_tokens(torch.tensor([row.ids[i] for i in places]))
    words = torch.tensor([5, 9])
    texts = Sequences.of([soft, rows(lm)[0]])
    found = lm.scores(texts, words, SoftPrompt(tokens))
    torch.testing.assert_close(found, lm.scores(Sequences.of([row, rows(lm)[0]]), words), rtol=0, atol=1e-5)
    moved = lm.scores(texts, words, SoftPrompt(tokens.flip(1)))
    assert not torch.allclose(moved[0], found[0])
    torch.testing.assert_close(moved[1], found[1])


def test_padding_on_the_left_is_refused_where_the_model_counts_positions(
    tiny_lm: Callable[[str], LanguageModel],
) -> None:
    lm = tiny_lm("t5")
    with pytest.raises(UsageError, match="pad its texts on the right"):
        lm.scores(left_padded(rows(lm)), torch.tensor([1]))


@pytest.mark.parametrize("name", KINDS)
def test_it_is_frozen_and_has_no_dropout(name: str, make_lm: Callable[..., LanguageModel]) -> None:
    lm = make_lm(name)
    texts, words = Sequences.of(rows(lm)), torch.tensor([5, 9])
    before = lm.scores(texts, words)
    lm.train()
    assert not any(parameter.requires_grad for parameter in lm.parameters())
    assert torch.equal(lm.scores(texts, words), before)


@pytest.mark.parametrize("name", KINDS)
def test_a_trainable_copy_gets_gradients_and_leaves_the_model_unchanged(
    name: str, make_lm: Callable[..., LanguageModel]
) -> None:
    lm = make_lm(name)
    twin = lm.copy_to_train()
    texts, words = Sequences.of(rows(lm)), torch.tensor([5, 9])
    assert twin.fingerprint == lm.fingerprint
    twin.scores(texts, words).square().sum().backward()
    table = twin.model.get_output_embeddings().weight
    assert table.grad is not None
    assert (table.grad[words] != 0).all(), "gradients reach the rows of the head too"
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    assert all(parameter.grad is None for parameter in lm.parameters())
    torch.testing.assert_close(lm.scores(texts, words), make_lm(name).scores(texts, words))


def test_bfloat16_scores_are_float32_and_close(make_lm: Callable[..., LanguageModel]) -> None:
    exact, rough = make_lm("roberta"), make_lm("roberta", precision="bf16")
    texts, words = Sequences.of(rows(exact)), torch.arange(50)
    found = rough.scores(texts, words)
    assert found.dtype == torch.float32
    assert rough.fingerprint == exact.fingerprint
    assert (found - exact.scores(texts, words)).abs().max() < 0.15


def test_hidden_states_are_the_last_layers(tiny_lm: Callable[[str], LanguageModel]) -> None:
    lm = tiny_lm("bert")
    row = rows(lm)[0]
    wanted = lm.model.bert(input_ids=torch.tensor([row.ids])).last_hidden_state[:, row.read]
    torch.testing.assert_close(lm.hidden(Sequences.of(rows(lm)))[:1], wanted, rtol=0, atol=1e-5)
