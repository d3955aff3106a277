"""A language model gives its own scores wherever it is read, however padded, and takes prompts or says why not."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.prefixes import in_encoder
from vlprompt.backbones.sequences import NOTHING, Row, Sequences, Steering
from vlprompt.errors import UsageError, VlpromptError

KINDS = ("bert", "roberta", "gpt2", "t5")
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
# Architectures besides the four, by class name, with what their configurations call things.
OTHERS: dict[str, dict[str, Any]] = {
    "DistilBertForMaskedLM": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48},
    "AlbertForMaskedLM": {**SIZES, "embedding_size": 16},
    "ElectraForMaskedLM": {**SIZES, "embedding_size": 16},
    "XLMRobertaForMaskedLM": {**SIZES, "pad_token_id": 1},
    "DebertaV2ForMaskedLM": SIZES,
    "ModernBertForMaskedLM": {**SIZES, "pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3},
    "MPNetForMaskedLM": {**SIZES, "pad_token_id": 1},
    "OPTForCausalLM": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 48},
    "LlamaForCausalLM": SIZES,
}


@pytest.fixture(scope="module")
def other(tiny_lm: Callable[[str], LanguageModel]) -> Callable[[str], LanguageModel]:
    """A random model of another architecture, with BERT's tokenizer."""
    import transformers

    made: dict[str, LanguageModel] = {}

    def make(name: str) -> LanguageModel:
        if name not in made:
            kind = getattr(transformers, name)
            config = kind.config_class(vocab_size=300, **OTHERS[name])
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(5)
                model = kind(config)
                for parameter in model.parameters():
                    parameter.data += torch.randn_like(parameter) * 0.1
            tokenizer = tiny_lm("bert").vocabulary.tokenizer
            made[name] = LanguageModel(model, tokenizer, "causal" if "Causal" in name else "masked", name=name)
        return made[name]

    return make


def rows(lm: LanguageModel) -> list[Row]:
    """Three texts of different length, read in different places."""
    texts = ("the film was great", "it", "i saw the story and the actor and it was a film")
    made = []
    for number, text in enumerate(texts):
        ids = [*lm.vocabulary.lead, *lm.vocabulary.pieces(text)]
        made.append(Row(tuple(ids), (0, len(ids) - 1, 5)[number]))
    return made


def own(lm: LanguageModel, row: Row) -> Tensor:
    """(V,) by the library's own forward: one text, its ids, nothing else."""
    ids = torch.tensor([row.ids])
    with torch.no_grad():
        if lm.kind == "encoder-decoder":
            decoder = torch.tensor([[0, lm.vocabulary.blank]])
            return lm.model(input_ids=ids, decoder_input_ids=decoder).logits[0, 1]
        return lm.model(input_ids=ids).logits[0, row.read]


def left_padded(texts: list[Row]) -> Sequences:
    longest = max(len(row.ids) for row in texts)
    ids = torch.tensor([[0] * (longest - len(row.ids)) + list(row.ids) for row in texts])
    mask = torch.tensor([[0] * (longest - len(row.ids)) + [1] * len(row.ids) for row in texts])
    return Sequences(ids, mask, torch.tensor([longest - len(row.ids) + row.read for row in texts]))


def test_texts_move_to_a_device_without_being_looked_at_there() -> None:
    made = [Row((5, 6, 7), 1, (-1, 0, -1), (0, 0, 1)), Row((5,))]
    moved = Sequences.of(made, device="meta")
    assert moved.slots is not None
    assert moved.segments is not None
    assert all(held.is_meta for held in (moved.ids, moved.mask, moved.read, moved.slots, moved.segments))
    with pytest.raises(UsageError, match="text 1 is to be read at place 1, which is padding"):
        Sequences.of([made[0], Row((5,), 1)], device="meta")


def check_scores(lm: LanguageModel) -> None:
    words = torch.tensor([7, 2, 100])
    wanted = torch.stack([own(lm, row)[words] for row in rows(lm)])
    texts = Sequences.of(rows(lm))
    torch.testing.assert_close(lm.scores(texts, words), wanted, rtol=0, atol=1e-5)
    with torch.no_grad():  # by length, two texts at a time at most
        lm.chunk_tokens, before = 12, lm.chunk_tokens
        torch.testing.assert_close(lm.scores(texts, words), wanted, rtol=0, atol=1e-5)
        lm.chunk_tokens = before
    if lm.first_position is not None:
        torch.testing.assert_close(lm.scores(left_padded(rows(lm)), words), wanted, rtol=0, atol=1e-5)
    weight, bias = lm.word_rows(words)
    states = lm.states(texts)
    torch.testing.assert_close(
        nn.functional.linear(states, weight, bias), wanted, rtol=0, atol=1e-5, msg="states and word rows"
    )


@pytest.mark.parametrize("name", KINDS)
def test_scores_are_the_models_own_read_anywhere_and_padded_anyhow(
    name: str, tiny_lm: Callable[[str], LanguageModel]
) -> None:
    lm = tiny_lm(name)
    assert lm.head == "rows only"
    check_scores(lm)


@pytest.mark.parametrize("name", OTHERS)
def test_other_architectures_too(name: str, other: Callable[[str], LanguageModel]) -> None:
    check_scores(other(name))


@pytest.mark.parametrize("name", KINDS)
def test_only_the_rows_that_are_asked_for_are_computed(name: str, make_lm: Callable[..., LanguageModel]) -> None:
    lm, seen = make_lm(name), []
    head = lm.model.get_output_embeddings()
    shapes = []

    def look(module: Any, given: Any, found: Tensor) -> None:
        shapes.append(tuple(found.shape))
        seen.append(tuple(given[0].shape))

    head.register_forward_hook(look)
    lm.scores(Sequences.of(rows(lm)), torch.tensor([1, 2]))
    assert shapes == [(3, 2 if name == "t5" else 1, 2)], "three texts, the read-out position, two words"
    assert "forward" not in vars(head), "the model's own head is back"


def test_the_head_is_back_after_an_error(make_lm: Callable[..., LanguageModel]) -> None:
    lm = make_lm("bert")
    before = len(lm.model.base_model._forward_hooks)
    with pytest.raises(IndexError):
        lm.scores(Sequences.of(rows(lm)), torch.tensor([10_000]))
    with pytest.raises(RuntimeError):
        lm.scores(Sequences.of(rows(lm)), torch.tensor([1]), Steering(prefix=torch.zeros(2, 2, 3, 1, 7)))
    assert "forward" not in vars(lm.model.get_output_embeddings())
    assert len(lm.model.base_model._forward_hooks) == before


def test_a_model_that_does_more_than_its_head_says_is_scored_whole(make_lm: Callable[..., LanguageModel]) -> None:
    lm = make_lm("gpt2")
    model = copy.deepcopy(lm.model)
    shift = torch.randn(600)
    plain = model.forward

    def shifted(*args: Any, position_ids: Any = None, **kwargs: Any) -> Any:
        found = plain(*args, position_ids=position_ids, **kwargs)
        found.logits = found.logits + shift[: found.logits.shape[-1]]  # by place in the vocabulary, not by word
        return found

    model.forward = shifted
    odd = LanguageModel(model, lm.vocabulary.tokenizer, "causal", name="odd")
    assert odd.head == "whole vocabulary"
    words, texts = torch.tensor([500, 3]), Sequences.of(rows(lm))
    torch.testing.assert_close(odd.scores(texts, words), lm.scores(texts, words) + shift[words])
    with pytest.raises(UsageError, match="cannot be used"):
        odd.states(texts)


@pytest.mark.parametrize("name", KINDS)
def test_soft_tokens_that_are_words_are_those_words(name: str, tiny_lm: Callable[[str], LanguageModel]) -> None:
    lm = tiny_lm(name)
    row = rows(lm)[2]
    places = (1, 2)
    soft = Row(
        tuple(0 if i in places else word for i, word in enumerate(row.ids)),
        row.read,
        tuple(places.index(i) if i in places else -1 for i in range(len(row.ids))),
    )
    tokens = lm.embed_tokens(torch.tensor([row.ids[i] for i in places]))
    words = torch.tensor([5, 9])
    texts = Sequences.of([soft, rows(lm)[0]])
    found = lm.scores(texts, words, Steering(tokens))
    torch.testing.assert_close(found, lm.scores(Sequences.of([row, rows(lm)[0]]), words), rtol=0, atol=1e-5)
    moved = lm.scores(texts, words, Steering(tokens.flip(1)))
    assert not torch.allclose(moved[0], found[0])
    torch.testing.assert_close(moved[1], found[1])


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2"])
def test_a_prefix_reaches_every_layer(name: str, make_lm: Callable[..., LanguageModel]) -> None:
    lm = make_lm(name)
    assert lm.prefix_shapes == ((2, 2, 2, 16),)
    texts, words = Sequences.of(rows(lm)), torch.tensor([5, 9])
    prefix = torch.randn(2, 2, 2, 4, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
    found = lm.scores(texts, words, Steering(prefix=prefix))
    (gradient,) = torch.autograd.grad(found.square().sum(), prefix)
    assert (gradient.abs().amax((2, 3, 4)) > 1e-6).all()
    again = lm.scores(texts, words, Steering(prefix=prefix))
    assert torch.equal(found, again), "a cache is not used twice"
    one = Sequences.of(rows(lm)[1:2])
    torch.testing.assert_close(lm.scores(one, words, Steering(prefix=prefix)), found[1:2], rtol=0, atol=1e-5)


def test_the_keys_and_values_of_words_are_those_words_for_a_causal_model(
    tiny_lm: Callable[[str], LanguageModel],
) -> None:
    lm = tiny_lm("gpt2")
    head, tail = lm.vocabulary.pieces("i saw the film ."), lm.vocabulary.pieces(" it was")
    with torch.no_grad():
        kept = lm.model(input_ids=torch.tensor([head]), use_cache=True).past_key_values
    prefix = torch.stack([torch.cat([layer.keys, layer.values]) for layer in kept.layers])
    words = torch.arange(20)
    whole = lm.scores(Sequences.of([Row((*head, *tail), len(head) + len(tail) - 1)]), words)
    found = lm.scores(Sequences.of([Row(tuple(tail), len(tail) - 1)]), words, Steering(prefix=prefix))
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["DistilBertForMaskedLM", "AlbertForMaskedLM", "ModernBertForMaskedLM", "MPNetForMaskedLM"]
)
def test_an_architecture_that_takes_no_prefix_is_refused(name: str, other: Callable[[str], LanguageModel]) -> None:
    with pytest.raises(VlpromptError, match=r"takes no keys and values before its own: .+ Use soft tokens"):
        _ = other(name).prefix_shapes


@pytest.mark.parametrize("name", ["ElectraForMaskedLM", "XLMRobertaForMaskedLM", "LlamaForCausalLM"])
def test_others_take_one(name: str, other: Callable[[str], LanguageModel]) -> None:
    assert other(name).prefix_shapes == ((2, 2, 2, 16),)


def test_a_prefix_that_is_ignored_is_noticed(make_lm: Callable[..., LanguageModel]) -> None:
    lm = make_lm("bert")
    run = lm.run
    lm.run = lambda texts, prompt, *rest: run(texts, NOTHING, *rest)  # type: ignore[method-assign]
    with pytest.raises(VlpromptError, match="accepts a prefix and ignores it"):
        _ = lm.prefix_shapes


def test_a_prefix_of_a_t5_encoder_is_what_real_tokens_leave_in_one_layer(make_lm: Callable[..., LanguageModel]) -> None:
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
    with in_encoder(lm.model, torch.stack(kept)[None], 1, torch.float32):
        found = encoder(inputs_embeds=text, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(found[:, :3], whole[:, :3], rtol=0, atol=1e-5)
    plain = encoder(inputs_embeds=text, attention_mask=mask).last_hidden_state
    assert (plain - found).abs()[:, :3].max() > 0.01, "what was given for one call is gone"


def test_a_prefix_reaches_both_stacks_of_a_t5(tiny_lm: Callable[[str], LanguageModel]) -> None:
    lm = tiny_lm("t5")
    assert lm.prefix_shapes == ((2, 2, 2, 16), (2, 2, 2, 16))
    texts, words = Sequences.of(rows(lm)), torch.tensor([5, 9, 14])
    prefix = torch.randn(4, 2, 2, 3, 16, generator=torch.Generator().manual_seed(1))
    found = lm.scores(texts, words, lm.prefixed(prefix))
    for part in (slice(0, 2), slice(2, 4)):
        less = prefix.clone()
        less[part] = 0
        assert (lm.scores(texts, words, lm.prefixed(less)) - found).abs().max() > 1e-3
    one = texts.take(torch.tensor([1]))
    torch.testing.assert_close(lm.scores(one, words, lm.prefixed(prefix)), found[1:2], rtol=0, atol=1e-5)


def test_padding_on_the_left_is_refused_where_positions_cannot_be_told(tiny_lm: Callable[[str], LanguageModel]) -> None:
    lm = tiny_lm("t5")
    with pytest.raises(UsageError, match="pad its texts on the right"):
        lm.scores(left_padded(rows(lm)), torch.tensor([1]))


def test_padding_between_tokens_or_under_the_read_out_is_refused() -> None:
    ids, read = torch.ones(2, 3, dtype=torch.long), torch.tensor([0, 2])
    with pytest.raises(UsageError, match="text 1 has padding between its tokens"):
        Sequences(ids, torch.tensor([[1, 1, 1], [1, 0, 1]]), read)
    with pytest.raises(UsageError, match="text 0 has padding between its tokens, or no token"):
        Sequences(ids, torch.tensor([[0, 0, 0], [1, 1, 1]]), read)
    with pytest.raises(UsageError, match="text 1 is to be read at place 2, which is padding"):
        Sequences(ids, torch.tensor([[1, 1, 1], [1, 1, 0]]), read)


@pytest.mark.parametrize("name", KINDS)
def test_it_is_frozen_and_never_drops_out(name: str, make_lm: Callable[..., LanguageModel]) -> None:
    lm = make_lm(name)
    texts, words = Sequences.of(rows(lm)), torch.tensor([5, 9])
    before = lm.scores(texts, words)
    lm.train()
    assert not any(parameter.requires_grad for parameter in lm.parameters())
    assert torch.equal(lm.scores(texts, words), before)


@pytest.mark.parametrize("name", KINDS)
def test_a_copy_to_train_learns_everywhere_and_leaves_the_model_alone(
    name: str, make_lm: Callable[..., LanguageModel]
) -> None:
    lm = make_lm(name)
    twin = lm.copy_to_train()
    texts, words = Sequences.of(rows(lm)), torch.tensor([5, 9])
    assert twin.fingerprint == lm.fingerprint
    twin.scores(texts, words).square().sum().backward()
    table = twin.model.get_output_embeddings().weight
    assert table.grad is not None
    assert (table.grad[words] != 0).all(), "through the rows of the head too"
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    assert all(parameter.grad is None for parameter in lm.parameters())
    torch.testing.assert_close(lm.scores(texts, words), make_lm(name).scores(texts, words))


def test_bfloat16_scores_are_float32_and_near(make_lm: Callable[..., LanguageModel]) -> None:
    exact, rough = make_lm("roberta"), make_lm("roberta", precision="bf16")
    texts, words = Sequences.of(rows(exact)), torch.arange(50)
    found = rough.scores(texts, words)
    assert found.dtype == torch.float32
    assert rough.fingerprint == exact.fingerprint
    assert (found - exact.scores(texts, words)).abs().max() < 0.15


def test_hidden_states_are_the_last_layers(tiny_lm: Callable[[str], LanguageModel]) -> None:
    lm = tiny_lm("bert")
    row = rows(lm)[0]
    wanted = lm.model.bert(input_ids=torch.tensor([row.ids])).last_hidden_state[:, row.read]
    torch.testing.assert_close(lm.hidden(Sequences.of(rows(lm)))[:1], wanted, rtol=0, atol=1e-5)
