"""Nearest words of learned tokens, by cosine."""

import math

import pytest
import torch

from vlprompt.report.neighbours import lines, neighbours

TABLE = torch.tensor([[3.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
WORDS = ("east", "north", "west")


def test_nearest_words_are_by_cosine_not_by_distance() -> None:
    tokens = {"context": torch.tensor([[[0.9, 0.1], [-2.0, 2.0]], [[0.0, 10.0], [1.0, -1.0]]])}  # (2, 2, 2)
    starts = {"context": torch.ones(2, 2, 2)}
    first, second, third, fourth = neighbours(tokens, starts, TABLE, WORDS, 2)
    assert [token.name for token in (first, second, third, fourth)] == [
        *["context[0, 0]", "context[0, 1]", "context[1, 0]", "context[1, 1]"]
    ]
    assert first.words == ("east", "north")
    assert first.cosines == pytest.approx((0.9 / math.hypot(0.9, 0.1), 0.1 / math.hypot(0.9, 0.1)))
    assert set(second.words) == {"north", "west"}
    assert third.words[0] == "north"
    assert third.norm == pytest.approx(10 / (5 / 3)), "of the mean norm of words"
    assert second.start == pytest.approx(0, abs=1e-6)
    assert third.start == pytest.approx(math.sqrt(0.5))


def test_the_number_of_words_is_limited_by_the_vocabulary() -> None:
    tokens = {"tokens": torch.tensor([[1.0, 1.0], [0.0, 0.0]])}
    found = list(neighbours(tokens, tokens, TABLE, WORDS, 9))
    assert [len(token.words) for token in found] == [3, 3]
    text = lines(found)
    assert text.splitlines()[0] == "tokens[0]  norm  0.85  start  1.00  east 0.71, north 0.71, west -0.71"
    assert "nan" not in text, "a zero vector has cosines of 0"
