"""The search for label words when there are many classes."""

import pytest
import torch

from vlprompt.cloze.parts.word_search import best_assignments
from vlprompt.errors import UsageError


def test_many_classes_combine_fewer_candidates_and_never_share_a_word() -> None:
    generator = torch.Generator().manual_seed(1)
    scores, labels = torch.randn(12, 12, 9, generator=generator), torch.arange(12)
    ids = torch.arange(12)[:, None] * 9 + torch.arange(9)
    best = best_assignments(scores, ids, labels, keep=5)
    assert best.shape == (5, 12)
    assert int(best.max()) == 2, "3 ** 12 is the last power below a million"
    with pytest.raises(UsageError, match="do not give 2 classes words of their own"):
        best_assignments(torch.randn(4, 2, 1), torch.zeros(2, 1, dtype=torch.int64), torch.arange(4) % 2, 1)
