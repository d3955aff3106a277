"""Padded texts: checks of padding and moves to a device."""

import pytest
import torch

from vlprompt.backbones.lm_inputs import Row, Sequences
from vlprompt.errors import UsageError


def test_texts_on_a_device_are_not_checked_there() -> None:
    made = [Row((5, 6, 7), 1, (-1, 0, -1), (0, 0, 1)), Row((5,))]
    moved = Sequences.of(made, device="meta")
    assert moved.slots is not None
    assert moved.segments is not None
    assert all(held.is_meta for held in (moved.ids, moved.mask, moved.read, moved.slots, moved.segments))
    with pytest.raises(UsageError, match="the read-out position 1 of text 1 is padding"):
        Sequences.of([made[0], Row((5,), 1)], device="meta")


def test_padding_between_tokens_or_at_the_read_out_is_refused() -> None:
    ids, read = torch.ones(2, 3, dtype=torch.long), torch.tensor([0, 2])
    with pytest.raises(UsageError, match="text 1 has padding between its tokens"):
        Sequences(ids, torch.tensor([[1, 1, 1], [1, 0, 1]]), read)
    with pytest.raises(UsageError, match="text 0 has padding between its tokens, or no token"):
        Sequences(ids, torch.tensor([[0, 0, 0], [1, 1, 1]]), read)
    with pytest.raises(UsageError, match="the read-out position 2 of text 1 is padding"):
        Sequences(ids, torch.tensor([[1, 1, 1], [1, 1, 0]]), read)
