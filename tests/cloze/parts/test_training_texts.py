"""All texts of batches are collected, also of shuffled ones."""

import pytest
import torch

from tests.cloze.texts import NOUNS, examples, opinions
from vlprompt.cloze.parts.training_texts import TrainingTexts
from vlprompt.data.batches import text_batches
from vlprompt.errors import UsageError


def test_shuffled_batches_give_every_text_though_they_drop_the_last_of_an_epoch() -> None:
    rows, rest = opinions(*NOUNS), examples([f"i saw it {number}" for number in range(36)], [-1] * 36)
    labelled, unlabelled = text_batches(rows, batch_size=3, seed=1), text_batches(rest, batch_size=25, seed=2)
    assert TrainingTexts.of(labelled.beside(unlabelled, torch.zeros(8).long())) == TrainingTexts(rows, rest)
    with pytest.raises(UsageError, match="learns from unlabelled texts"):
        TrainingTexts.of(labelled)
