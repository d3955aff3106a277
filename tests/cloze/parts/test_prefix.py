"""A prefix is its network's equation, and every stack of layers has one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import vlprompt as vp
from tests.cloze.texts import shuffled
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import PrefixTuning, PTuningV2
from vlprompt.cloze.parts.prefix import PrefixEncoder


def test_the_network_is_its_equation() -> None:
    prefix = PrefixEncoder((3, 2, 2, 4), 5, 8, 6).double()
    first, second = prefix.mlp[0], prefix.mlp[2]
    flat = (prefix.embedding @ first.weight.T + first.bias).tanh() @ second.weight.T + second.bias
    for place, layer, side, head in ((0, 0, 0, 0), (4, 2, 1, 1), (3, 1, 0, 1)):
        start = ((layer * 2 + side) * 2 + head) * 4
        torch.testing.assert_close(prefix()[layer, side, head, place], flat[place, start : start + 4])


@pytest.mark.parametrize("kind", [PrefixTuning, PTuningV2])
def test_both_stacks_of_a_t5_learn_a_prefix(kind: Any, tiny_lm: Callable[[str], LanguageModel]) -> None:
    learner = kind(tiny_lm("t5"), ("no", "yes"))
    stacks = learner.prompt.encoder.stacks
    assert len(stacks) == 2
    before = [stack.embedding.detach().clone() for stack in stacks]
    config = vp.TrainConfig(epochs=2, batch_size=4, lr=1e-2, optimizer="adamw", schedule="constant", warmup="none")
    vp.fit(learner, shuffled(("it was good", "i saw it", "it was dull", "it"), (1, 0, 0, 1)), config)
    assert all(not torch.equal(stack.embedding, old) for stack, old in zip(stacks, before, strict=True))
