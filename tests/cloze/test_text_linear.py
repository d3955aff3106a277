"""A linear probe reads the state that its setting names."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import vlprompt as vp
from tests.cloze.texts import KINDS, TEMPLATE, batch
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import HardPrompt, HardPromptConfig, TextLinear, TextLinearConfig

TEXTS = ("the film was great .", "i saw the story", "it", "the actor was awful and i left")
TASK = vp.Task("opinions", ("no", "yes"), (TEMPLATE,), words=(("bad", "dull"), ("good",)))


@torch.no_grad()
def own_state(lm: LanguageModel, text: str) -> Tensor:
    """(D,) by the library alone: the first token's last state, a causal model's last, a decoder's answer."""
    ids = torch.tensor([[*lm.vocabulary.lead, *lm.vocabulary.pieces(text)]])
    if lm.kind == "causal":
        return lm.model.base_model(input_ids=ids).last_hidden_state[0, -1]
    ids = torch.cat([ids, torch.tensor([lm.vocabulary.tail])], dim=1)
    if lm.kind == "masked":
        return lm.model.base_model(input_ids=ids).last_hidden_state[0, 0]
    # A T5's head reads the decoder's last state, scaled where the head is tied to the embeddings.
    decoder, scale = torch.tensor([[0, lm.vocabulary.blank]]), lm.model.config.scale_decoder_outputs
    outputs = lm.model(input_ids=ids, decoder_input_ids=decoder, output_hidden_states=True)
    return outputs.decoder_hidden_states[-1][0, 1] * (lm.model.config.d_model**-0.5 if scale else 1)


@pytest.mark.parametrize("name", KINDS)
def test_it_reads_the_first_token_or_the_blank(name: str, tiny_lm: Callable[[str], LanguageModel]) -> None:
    lm = tiny_lm(name)
    first = TextLinear.for_task(lm, TASK, TextLinearConfig())
    assert first.config.template == "{text}", "words of the template are not used"
    assert first.needs.text_encoder is not None
    states = first.needs.text_encoder(list(batch(*TEXTS).texts or ()))
    for text, state in zip(TEXTS, states, strict=True):
        torch.testing.assert_close(state, own_state(lm, text), rtol=0, atol=2e-5)
    blank = TextLinear.for_task(lm, TASK, TextLinearConfig(at="blank"))
    hard = HardPrompt.for_task(lm, TASK, HardPromptConfig())
    assert torch.equal(blank.states(batch(*TEXTS)), hard.states(batch(*TEXTS)))


def test_its_head_grows_with_a_task_that_brings_new_classes(tiny_lm: Callable[[str], LanguageModel]) -> None:
    learner = TextLinear(tiny_lm("bert"), ("no", "yes"), seed=1)
    learner.begin_stream(masked=True)
    assert not learner.head.weight.any()
    with torch.no_grad():
        learner.head.weight.fill_(1.0)
    rows = tuple(
        vp.Example(vp.Text.of(text=f"the film was {word}"), 1 + at) for at, word in enumerate(("fine", "dull"))
    )
    learner.begin_task(vp.Task("three", ("no", "yes", "maybe"), ("{text} it was {mask}",), rows, words=(("bad",),) * 3))
    assert learner.classes == ("no", "yes", "maybe")
    assert learner.head.weight[:2].eq(1.0).all()
    assert not learner.head.weight[2].any()
    assert learner.head.present.tolist() == [False, True, True]
