"""The encoders of P-tuning are their equations."""

import pytest
import torch
from torch import nn

from vlprompt.cloze.p_tuning import PromptEncoder
from vlprompt.errors import UsageError


def test_the_encoder_is_its_equation() -> None:
    encoder = PromptEncoder(5, 8, "few-shot").double()
    lstm = nn.LSTM(8, 8, num_layers=2, bidirectional=True, batch_first=True).double()
    lstm.load_state_dict(encoder.lstm.state_dict())
    states = lstm(encoder.embedding[None])[0][0]
    first, second = encoder.mlp[0], encoder.mlp[2]
    wanted = (states @ first.weight.T + first.bias).clamp_min(0) @ second.weight.T + second.bias
    torch.testing.assert_close(encoder(), wanted)


def test_every_kind_has_its_own_widths() -> None:
    assert PromptEncoder(5, 8, "lama").lstm.hidden_size == 4
    with pytest.raises(UsageError, match="halves the width, and 7 is odd"):
        PromptEncoder(5, 7, "lama")
    sizes = {kind: [part.weight.shape for part in PromptEncoder(5, 8, kind, 6).mlp if isinstance(part, nn.Linear)]
             for kind in ("peft-lstm", "peft-mlp")}  # fmt: skip
    assert sizes == {"peft-lstm": [(12, 12), (8, 12)], "peft-mlp": [(6, 8), (6, 6), (8, 6)]}
