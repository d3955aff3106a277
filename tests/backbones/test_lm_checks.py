"""Checks at load time: unusual heads, and models that take no prefix."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.backbones.lm_texts import NO_PREFIX, OTHERS, rows
from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import NO_SOFT_PROMPT, Sequences
from vlprompt.errors import UsageError, VlpromptError


def test_a_model_that_transforms_its_scores_computes_the_whole_vocabulary(
    make_lm: Callable[..., LanguageModel],
) -> None:
    lm = make_lm("gpt2")
    model = copy.deepcopy(lm.model)
    shift = torch.randn(600)
    plain = model.forward

    def shifted(*args: Any, position_ids: Any = None, **kwargs: Any) -> Any:
        found = plain(*args, position_ids=position_ids, **kwargs)
        found.logits = found.logits + shift[: found.logits.shape[-1]]  # by index in the vocabulary, not by word
        return found

    model.forward = shifted
    odd = LanguageModel(model, lm.vocabulary.tokenizer, "causal", name="odd")
    assert odd.head == "whole vocabulary"
    words, texts = torch.tensor([500, 3]), Sequences.of(rows(lm))
    torch.testing.assert_close(odd.scores(texts, words), lm.scores(texts, words) + shift[words])
    with pytest.raises(UsageError, match="cannot be used"):
        odd.states(texts)


@pytest.mark.parametrize("name", NO_PREFIX)
def test_an_architecture_that_takes_no_prefix_is_refused(name: str, other_lm: Callable[[str], LanguageModel]) -> None:
    with pytest.raises(VlpromptError, match=r"takes no keys and values before its own: .+ Use soft tokens"):
        _ = other_lm(name).prefix_shapes


@pytest.mark.parametrize("name", [name for name in OTHERS if name not in NO_PREFIX])
def test_other_architectures_take_a_prefix(name: str, other_lm: Callable[[str], LanguageModel]) -> None:
    assert other_lm(name).prefix_shapes == ((2, 2, 2, 16),)


def test_a_prefix_that_is_ignored_is_refused(make_lm: Callable[..., LanguageModel]) -> None:
    lm = make_lm("bert")
    run = lm.run
    lm.run = lambda texts, prompt, *rest: run(texts, NO_SOFT_PROMPT, *rest)  # type: ignore[method-assign]
    with pytest.raises(VlpromptError, match="accepts a prefix and ignores it"):
        _ = lm.prefix_shapes
