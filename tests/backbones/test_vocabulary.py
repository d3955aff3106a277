"""Whole words and the fingerprint of a vocabulary."""

import copy
from collections.abc import Callable

import pytest

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.vocabulary import Vocabulary

Make = Callable[[str], LanguageModel]


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "t5"])
def test_whole_words_are_single_tokens_after_a_space(name: str, tiny_lm: Make) -> None:
    vocabulary = tiny_lm(name).vocabulary
    said = [vocabulary.tokenizer.decode([piece]).strip() for piece in vocabulary.whole_words]
    assert {"film", "great", "was"} <= set(said)
    assert len(set(said)) == len(said), "one id per word"
    assert all(word.isalpha() for word in said)
    for piece, word in zip(vocabulary.whole_words, said, strict=True):
        assert vocabulary.pieces(" " + word) == [piece]
    every = {word for word in ("the", "story", "actor", "it", "terrible") if len(vocabulary.pieces(" " + word)) == 1}
    assert every <= set(said), "no word is missing"
    assert not set(vocabulary.whole_words) & vocabulary.special


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_a_fingerprint_changes_with_the_tokenizer_and_not_with_its_use(name: str, tiny_lm: Make) -> None:
    tokenizer = copy.deepcopy(tiny_lm(name).vocabulary.tokenizer)
    before = Vocabulary(tokenizer).fingerprint
    assert before == tiny_lm(name).vocabulary.fingerprint
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    tokenizer(["the film", "it"], padding="max_length", truncation=True, max_length=5)
    assert Vocabulary(tokenizer).fingerprint == before, "padding set by a call does not change the tokenizer"
    tokenizer.add_tokens(["unheardof"])
    assert Vocabulary(tokenizer).fingerprint != before
