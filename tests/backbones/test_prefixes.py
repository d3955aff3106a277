"""Prefixes reach every layer and equal the keys and values of real tokens."""

from collections.abc import Callable

import pytest
import torch

from tests.backbones.lm_texts import rows
from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import Row, Sequences, SoftPrompt
from vlprompt.backbones.prefixes import encoder_prefix


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2"])
def test_a_prefix_reaches_every_layer(name: str, make_lm: Callable[..., LanguageModel]) -> None:
    lm = make_lm(name)
    assert lm.prefix_shapes == ((2, 2, 2, 16),)
    texts, words = Sequences.of(rows(lm)), torch.tensor([5, 9])
    prefix = torch.randn(2, 2, 2, 4, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
    found = lm.scores(texts, words, SoftPrompt(prefix=prefix))
    (gradient,) = torch.autograd.grad(found.square().sum(), prefix)
    assert (gradient.abs().amax((2, 3, 4)) > 1e-6).all()
    again = lm.scores(texts, words, SoftPrompt(prefix=prefix))
    assert torch.equal(found, again), "a cache is not used twice"
    one = Sequences.of(rows(lm)[1:2])
    torch.testing.assert_close(lm.scores(one, words, SoftPrompt(prefix=prefix)), found[1:2], rtol=0, atol=1e-5)


def test_a_prefix_of_words_equals_the_words_for_a_causal_model(
    tiny_lm: Callable[[str], LanguageModel],
) -> None:
    lm = tiny_lm("gpt2")
    head, tail = lm.vocabulary.pieces("i saw the film ."), lm.vocabulary.pieces(" it was")
    with torch.no_grad():
        kept = lm.model(input_ids=torch.tensor([head]), use_cache=True).past_key_values
    prefix = torch.stack([torch.cat([layer.keys, layer.values]) for layer in kept.layers])
    words = torch.arange(20)
    whole = lm.scores(Sequences.of([Row((*head, *tail), len(head) + len(tail) - 1)]), words)
    found = lm.scores(Sequences.of([Row(tuple(tail), len(tail) - 1)]), words, SoftPrompt(prefix=prefix))
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-5)


def test_a_prefix_of_a_t5_encoder_equals_real_tokens_in_one_layer(make_lm: Callable[..., LanguageModel]) -> None:
    lm = make_lm("t5")
    encoder = lm.model.get_encoder()
    encoder.block = encoder.block[:1]  # in a second layer real tokens would have seen the text
    tokens, text = torch.randn(2, 4, 32, generator=torch.Generator().manual_seed(2)).split([1, 1])
    mask = torch.tensor([[1, 1, 1, 0]])
    seen = torch.cat([torch.ones_like(mask), mask], dim=1)
    whole = encoder(inputs_embeds=torch.cat([tokens, text], dim=1), attention_mask=seen).last_hidden_state[:, 4:]
    layer = encoder.block[0].layer[0]
    normed = layer.layer_norm(tokens[0])
    kept = [linear(normed).view(4, 2, 16).transpose(0, 1) for linear in (layer.SelfAttention.k, layer.SelfAttention.v)]
    with encoder_prefix(lm.model, torch.stack(kept)[None], 1, torch.float32):
        found = encoder(inputs_embeds=text, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(found[:, :3], whole[:, :3], rtol=0, atol=1e-5)
    plain = encoder(inputs_embeds=text, attention_mask=mask).last_hidden_state
    assert (plain - found).abs()[:, :3].max() > 0.01, "the prefix of one call must not remain"


def test_a_prefix_reaches_both_stacks_of_a_t5(tiny_lm: Callable[[str], LanguageModel]) -> None:
    lm = tiny_lm("t5")
    assert lm.prefix_shapes == ((2, 2, 2, 16), (2, 2, 2, 16))
    texts, words = Sequences.of(rows(lm)), torch.tensor([5, 9, 14])
    prefix = torch.randn(4, 2, 2, 3, 16, generator=torch.Generator().manual_seed(1))
    found = lm.scores(texts, words, lm.prefix_prompt(prefix))
    for part in (slice(0, 2), slice(2, 4)):
        less = prefix.clone()
        less[part] = 0
        assert (lm.scores(texts, words, lm.prefix_prompt(less)) - found).abs().max() > 1e-3
    one = texts.take(torch.tensor([1]))
    torch.testing.assert_close(lm.scores(one, words, lm.prefix_prompt(prefix)), found[1:2], rtol=0, atol=1e-5)
