"""The head computes only the words that are needed, and is restored afterwards."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.backbones.lm_texts import KINDS, rows
from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import Sequences, SoftPrompt


@pytest.mark.parametrize("name", KINDS)
def test_only_the_rows_of_the_given_words_are_computed(name: str, make_lm: Callable[..., LanguageModel]) -> None:
    lm, seen = make_lm(name), []
    head = lm.model.get_output_embeddings()
    shapes = []

    def look(module: Any, given: Any, found: Tensor) -> None:
        shapes.append(tuple(found.shape))
        seen.append(tuple(given[0].shape))

    head.register_forward_hook(look)
    lm.scores(Sequences.of(rows(lm)), torch.tensor([1, 2]))
    assert shapes == [(3, 2 if name == "t5" else 1, 2)], "three texts, the read-out position, two words"
    assert "forward" not in vars(head), "the model's own head is restored"


def test_the_head_is_restored_after_an_error(make_lm: Callable[..., LanguageModel]) -> None:
    lm = make_lm("bert")
    before = len(lm.model.base_model._forward_hooks)
    with pytest.raises(IndexError):
        lm.scores(Sequences.of(rows(lm)), torch.tensor([10_000]))
    with pytest.raises(RuntimeError):
        lm.scores(Sequences.of(rows(lm)), torch.tensor([1]), SoftPrompt(prefix=torch.zeros(2, 2, 3, 1, 7)))
    assert "forward" not in vars(lm.model.get_output_embeddings())
    assert len(lm.model.base_model._forward_hooks) == before
