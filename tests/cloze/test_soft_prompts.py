"""Soft tokens start where they should, and what made a prompt can be dropped without a trace."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import vlprompt as vp
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import (
    FineTuning,
    HardPrompt,
    HardPromptConfig,
    PrefixTuning,
    PrefixTuningConfig,
    PromptOrientedFineTuning,
    PromptOrientedFineTuningConfig,
    PromptTuning,
    PromptTuningConfig,
    PTuning,
    PTuningConfig,
    PTuningV2,
    PTuningV2Config,
)
from vlprompt.cloze import soft as start
from vlprompt.cloze.p_tuning import PromptEncoder
from vlprompt.cloze.prefix import PrefixEncoder
from vlprompt.data import Batch, Text, TextBatches
from vlprompt.errors import UsageError, VlpromptError

Make = Callable[[str], LanguageModel]
CLASSES, WORDS = ("no", "yes"), (("bad",), ("good", "great"))
TEXTS = ("the film was great .", "i saw the story", "the actor was dull", "it")
TRAIN = vp.TrainConfig(epochs=4, batch_size=4, lr=1e-2, optimizer="adamw", schedule="constant", warmup="none")
PREFIXED: list[tuple[type, Any]] = [
    (PTuning, PTuningConfig(length=3)),
    (PrefixTuning, PrefixTuningConfig(length=3, middle=8)),
    (PTuningV2, PTuningV2Config(length=3, middle=8, readout="words")),
]


def batch() -> Batch:
    texts = tuple(Text.of(text=text) for text in TEXTS)
    return Batch(torch.tensor([1, 0, 0, 1]), torch.arange(4), texts=texts)


def batches() -> TextBatches:
    held = batch()
    assert held.texts is not None
    return TextBatches(
        [vp.Example(text, int(label)) for text, label in zip(held.texts, held.labels, strict=True)],
        batch_size=4,
        seed=1,
    )


def test_soft_tokens_from_words_are_the_hard_prompt(tiny_lm: Make) -> None:
    for name in ("bert", "roberta", "gpt2", "t5"):
        lm = tiny_lm(name)
        hard = HardPrompt(lm, CLASSES, HardPromptConfig("{text} it was {mask}", WORDS))
        soft = PromptTuning(lm, CLASSES, PromptTuningConfig("{text} {soft:it was} {mask}", WORDS))
        torch.testing.assert_close(soft.predict(batch()), hard.predict(batch()), rtol=0, atol=1e-5)


def test_every_start_is_what_it_says(tiny_lm: Make) -> None:
    lm = tiny_lm("roberta")
    uniform = start.uniform(500, lm.width, 1)
    assert uniform.min() < -0.49 < 0.49 < uniform.max()
    table, special = lm.table, lm.vocabulary.special
    found = (start.sampled(lm, 300, 1)[:, None] == table).all(-1).int().argmax(1).tolist()
    assert len(set(found)) == 300, "without replacement"
    assert not set(found) & special
    assert start.sampled(lm, 900, 1).shape == (900, lm.width)
    labels = start.from_labels(lm, (("greatly", "bad"), ("good",)), 5, 1)
    for row, word in enumerate(("greatly", "bad", "good")):
        pieces = torch.tensor(lm.vocabulary.pieces(" " + word))
        torch.testing.assert_close(labels[row], lm.embed_tokens(pieces).mean(0))
    assert torch.equal(labels[3:], start.sampled(lm, 5, 1)[3:])
    pieces = torch.tensor(lm.vocabulary.pieces("the film was"))
    assert torch.equal(start.from_text(lm, "the film was", 4, 1)[:3], lm.embed_tokens(pieces))


def test_a_prompt_starts_from_another_tasks(tiny_lm: Make, tmp_path: Path) -> None:
    lm = tiny_lm("bert")
    first = PromptTuning(lm, CLASSES, PromptTuningConfig(words=WORDS, length=4, init="uniform"), seed=3)
    first.save(tmp_path)
    config = PromptTuningConfig(words=WORDS, length=4, init="file", init_file=str(tmp_path))
    assert torch.equal(PromptTuning(lm, CLASSES, config).tokens, first.tokens)
    with pytest.raises(VlpromptError, match=r"holds no prompt of shape \(5, 32\), only tokens \(4, 32\)"):
        PromptTuning(lm, CLASSES, replace(config, length=5))
    with pytest.raises(UsageError, match="init 'text' needs the setting init_text"):
        PromptTuningConfig(init="text")


def test_tokens_stand_behind_the_start_token_or_where_the_template_says(tiny_lm: Make) -> None:
    lm = tiny_lm("bert")
    front = PromptTuning(lm, CLASSES, PromptTuningConfig("{text} it was {mask}", WORDS, length=2))
    assert front.sequences(batch()).slots[0, :4].tolist() == [-1, 0, 1, -1]  # type: ignore[index]
    inside = PromptTuning(lm, CLASSES, PromptTuningConfig("{text} {soft:3} {mask}", WORDS, length=2))
    assert len(inside.tokens) == 3
    assert inside.sequences(batch()).slots[3, :6].tolist() == [-1, -1, 0, 1, 2, -1]  # type: ignore[index]


@pytest.mark.parametrize(("kind", "config"), PREFIXED)
@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2"])
def test_what_made_a_prompt_is_dropped_without_a_trace(
    kind: Any, config: Any, name: str, tiny_lm: Make, tmp_path: Path
) -> None:
    lm = tiny_lm(name)
    learner = kind(lm, CLASSES, replace(config, template="{text} it was {mask}", words=WORDS))
    kept: list[torch.Tensor] = []
    end = learner.prompt.drop

    def look() -> None:
        learner.eval()
        kept.append(learner.predict(batch()))
        end()

    learner.prompt.drop = look
    vp.fit(learner, batches(), TRAIN)
    del learner.prompt.drop
    assert list(learner.trainable()) == ["prompt.value"]
    torch.testing.assert_close(learner.predict(batch()), kept[0], rtol=0, atol=1e-6)
    learner.save(tmp_path)
    again = vp.load(tmp_path, lm)
    assert torch.equal(again.predict(batch()), learner.predict(batch()))


@pytest.mark.parametrize("kind", [PrefixTuning, PTuningV2])
def test_both_stacks_of_a_t5_learn_a_prefix(kind: Any, tiny_lm: Make) -> None:
    learner = kind(tiny_lm("t5"), CLASSES)
    assert len(learner.prompt.encoder.stacks) == 2
    before = {name: tensor.clone() for name, tensor in learner.trainable().items()}
    vp.fit(learner, batches(), TRAIN)
    moved = [name for name, tensor in learner.trainable().items() if not torch.equal(tensor, before.get(name, tensor))]
    kept = learner.prompt.value
    assert kept is not None or any(name.startswith("prompt.encoder.stacks.1") for name in moved)


def test_the_encoders_are_their_equations() -> None:
    encoder = PromptEncoder(5, 8, "few-shot").double()
    lstm = nn.LSTM(8, 8, num_layers=2, bidirectional=True, batch_first=True).double()
    lstm.load_state_dict(encoder.lstm.state_dict())  # type: ignore[union-attr]
    states = lstm(encoder.embedding[None])[0][0]
    first, second = encoder.mlp[0], encoder.mlp[2]
    wanted = (states @ first.weight.T + first.bias).clamp_min(0) @ second.weight.T + second.bias
    torch.testing.assert_close(encoder(), wanted)
    assert PromptEncoder(5, 8, "lama").lstm.hidden_size == 4  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="halves the width, and 7 is odd"):
        PromptEncoder(5, 7, "lama")
    sizes = {kind: [part.weight.shape for part in PromptEncoder(5, 8, kind, 6).mlp if isinstance(part, nn.Linear)]
             for kind in ("peft-lstm", "peft-mlp")}  # fmt: skip
    assert sizes == {"peft-lstm": [(12, 12), (8, 12)], "peft-mlp": [(6, 8), (6, 6), (8, 6)]}
    prefix = PrefixEncoder((3, 2, 2, 4), 5, 8, 6).double()
    first, second = prefix.mlp[0], prefix.mlp[2]  # type: ignore[index]
    flat = (prefix.embedding @ first.weight.T + first.bias).tanh() @ second.weight.T + second.bias
    for place, layer, side, head in ((0, 0, 0, 0), (4, 2, 1, 1), (3, 1, 0, 1)):
        cut = ((layer * 2 + side) * 2 + head) * 4
        torch.testing.assert_close(prefix()[layer, side, head, place], flat[place, cut : cut + 4])


def test_a_trained_causal_position_is_the_one_that_is_read(tiny_lm: Make) -> None:
    learner = PromptTuning(tiny_lm("gpt2"), CLASSES, PromptTuningConfig(words=WORDS, length=4))
    before = learner.loss(batch())
    vp.fit(learner, batches(), replace(TRAIN, epochs=30, lr=0.05))
    assert learner.loss(batch()) < before / 2
    assert (learner.predict(batch()).argmax(1) == batch().labels).all()


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_a_trained_model_is_a_copy(name: str, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    before = {key: value.clone() for key, value in lm.model.state_dict().items()}
    for kind in (PromptOrientedFineTuning, FineTuning):
        learner = kind(lm, ("bad", "good"))
        start_loss = learner.eval().loss(batch()).detach()
        vp.fit(learner, batches(), replace(TRAIN, epochs=20))
        assert learner.loss(batch()) < start_loss
    assert all(torch.equal(before[key], value) for key, value in lm.model.state_dict().items())


def test_a_causal_model_has_no_arbitrary_blanks(tiny_lm: Make) -> None:
    with pytest.raises(UsageError, match="no arbitrary blanks to learn, a masked model has; set lm_training=false"):
        PromptOrientedFineTuning(tiny_lm("gpt2"), ("bad", "good"), PromptOrientedFineTuningConfig(lm_training=True))


def test_arbitrary_blanks_are_words_only_and_fifteen_in_a_hundred(tiny_lm: Make) -> None:
    lm = tiny_lm("bert")
    learner = PromptOrientedFineTuning(lm, ("bad", "good"))
    same = (Text.of(text="the film was good and i saw it"),) * 200
    many = Batch(torch.zeros(200).long(), torch.arange(200), texts=same)
    texts = learner.sequences(many)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        guessed, wanted = learner.masked(texts)
    chosen = wanted != -100
    assert not chosen[torch.isin(texts.ids, torch.tensor(sorted(lm.vocabulary.special)))].any()
    share = chosen.float().mean() / (8 / texts.ids.shape[1])
    assert 0.12 < share < 0.18
    assert 0.7 < (guessed.ids[chosen] == lm.vocabulary.blank).float().mean() < 0.9
    assert torch.equal(guessed.ids[~chosen], texts.ids[~chosen])
    both = replace(batch(), unlabelled=many)
    learner.eval()
    assert learner.blank_loss(guessed, wanted) > 0
    assert torch.equal(learner.loss(both), learner.loss(batch())), "they count only where they are asked for"
    config = replace(learner.config, alpha=0.25, lm_training=True)
    weighed = PromptOrientedFineTuning(lm, ("bad", "good"), config).eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        found = weighed.loss(both)
    expected = 0.25 * learner.loss(batch()) + 0.75 * learner.blank_loss(guessed, wanted)
    torch.testing.assert_close(found, expected)


HEAD = PromptTuningConfig("{text} it was {mask}", WORDS, length=3, init="normal", readout="head")


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "t5"])
def test_a_linear_layer_reads_the_first_token_behind_soft_tokens(name: str, tiny_lm: Make, tmp_path: Path) -> None:
    lm = tiny_lm(name)
    learner = PromptTuning(lm, CLASSES, HEAD)
    assert learner.config.template == "{soft:3} {text}"
    assert isinstance(learner.head, nn.Linear)
    assert list(learner.trainable()) == ["tokens", "head.weight", "head.bias"]
    if name == "bert":
        texts = learner.sequences(batch())
        assert texts.slots is not None
        words = lm.model.get_input_embeddings()(texts.ids)
        words[texts.slots >= 0] = learner.tokens.detach().repeat(len(texts), 1)
        states = lm.model.base_model(inputs_embeds=words, attention_mask=texts.mask).last_hidden_state
        assert texts.slots[0, :5].tolist() == [-1, 0, 1, 2, -1], "[CLS] keeps its place"
        torch.testing.assert_close(learner(batch()), learner.head(states[:, 0]), rtol=0, atol=1e-5)
    before = learner.loss(batch()).detach()
    vp.fit(learner, batches(), replace(TRAIN, epochs=30, lr=0.05))
    assert learner.loss(batch()) < before / 2
    assert learner.keeps_classes == "its head has a row for each class; train with readout='words'"
    learner.save(tmp_path)
    assert torch.equal(vp.load(tmp_path, lm).predict(batch()), learner.predict(batch()))


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_the_released_codes_slip_embeds_words_twice(name: str, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    right, wrong = (PromptTuning(lm, CLASSES, replace(HEAD, reference_quirks=quirks)) for quirks in (False, True))
    assert isinstance(wrong.head, nn.Linear)
    assert (right.predict(batch()) - wrong.predict(batch())).abs().max() > 1e-3
    texts = wrong.sequences(batch())
    assert texts.slots is not None
    for number in range(len(TEXTS)):
        ids = texts.ids[number][(texts.slots[number] < 0) & texts.mask[number].bool()][None]  # without padding
        once = lm.model.base_model.embeddings(input_ids=ids)
        rows = torch.cat([once[:, :1], wrong.tokens.detach()[None], once[:, 1:]], dim=1)
        state = lm.model.base_model(inputs_embeds=rows).last_hidden_state[:, 0]
        torch.testing.assert_close(wrong.predict(batch())[number], wrong.head(state)[0], rtol=0, atol=1e-5)


def test_slips_need_a_head_and_an_embedding_layer(tiny_lm: Make) -> None:
    with pytest.raises(UsageError, match="those of a linear layer's code; set readout='head'"):
        PromptTuningConfig(reference_quirks=True)
    with pytest.raises(UsageError, match="no embedding layer of its own; use reference_quirks with a BERT"):
        PromptTuning(tiny_lm("gpt2"), CLASSES, replace(HEAD, reference_quirks=True))
    with pytest.raises(UsageError, match=r"unknown readout 'pooler'"):
        PromptTuningConfig(readout="pooler")  # type: ignore[arg-type]
