"""An iteration of AutoPrompt finds the same trigger as a plain search by the library's own forward."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import vlprompt as vp
from tests.cloze.texts import examples, first_pieces
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import AutoPrompt, AutoPromptConfig
from vlprompt.cloze.autoprompt import RECIPE, add_triggers
from vlprompt.data.batches import text_batches
from vlprompt.data.features import FeatureStore
from vlprompt.training import resume

Make = Callable[..., LanguageModel]
TEXTS = ("the film was great .", "i saw the story", "it", "the actor was awful and i left")
LABELS = (1, 0, 0, 1)
WORDS = (("it",), ("the", "was"))
CONFIG = AutoPromptConfig("{text} {mask}", WORDS, "logsumexp", "first", length=2, candidates=5)


def task(val: bool = False) -> vp.Task:
    rows = examples(TEXTS, LABELS)
    return vp.Task("texts", ("no", "yes"), ("{text} {mask}",), rows, rows[:2] if val else (), rows, words=WORDS)


def recipe(epochs: int, batch_size: int = 4) -> vp.TrainConfig:
    return replace(RECIPE, epochs=epochs, batch_size=batch_size)


def own_loss(lm: LanguageModel, trigger: list[int], embed: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Mean of -log p(class) over the texts, each alone through the library's forward, from ids."""
    losses = []
    for text, label in zip(TEXTS, LABELS, strict=True):
        pieces = lm.vocabulary.pieces(text)
        blank = [] if lm.kind == "causal" else [lm.vocabulary.blank]
        tail = () if lm.kind == "causal" else lm.vocabulary.tail
        ids = torch.tensor([[*lm.vocabulary.lead, *pieces, *trigger, *blank, *tail]])
        first = len(lm.vocabulary.lead) + len(pieces)
        given: dict[str, Any] = {"input_ids": ids}
        if embed is not None:
            words = lm.model.get_input_embeddings()(ids)
            tokens = embed(ids[0, first : first + len(trigger)])
            rows = torch.cat([words[:, :first], tokens[None], words[:, first + len(trigger) :]], dim=1)
            given = {"inputs_embeds": rows}
            if lm.first_position:
                given["position_ids"] = torch.arange(ids.shape[1])[None] + lm.first_position
        if lm.kind == "encoder-decoder":
            start = lm.model.config.decoder_start_token_id
            given["decoder_input_ids"] = torch.tensor([[start, lm.vocabulary.blank]])
            row = lm.model(**given).logits[0, 1]
        else:
            row = lm.model(**given).logits[0, first + len(trigger) - (lm.kind == "causal")]
        losses.append(-row.log_softmax(0)[first_pieces(lm, WORDS)[label]].logsumexp(0))
    return torch.stack(losses).mean()


def test_an_iteration_is_the_papers(any_lm: LanguageModel, tmp_path: Path) -> None:
    lm = any_lm
    learner = AutoPrompt.for_task(lm, task(), CONFIG, seed=4)
    blank = lm.vocabulary.blank if lm.vocabulary.blank is not None else lm.vocabulary.pad
    assert learner.trigger.tolist() == [blank, blank]
    before = float(own_loss(lm, [blank, blank]))
    tokens: list[Tensor] = []

    def leaf(ids: Tensor) -> Tensor:
        return tokens[0]

    tokens.append(lm.embed_tokens(torch.tensor([blank, blank])).requires_grad_())
    (gradient,) = torch.autograd.grad(own_loss(lm, [blank, blank], leaf), tokens[0])

    report = vp.fit(learner, task(), recipe(1), store=FeatureStore(tmp_path))  # sums gradients and proposes candidates
    assert report.losses[0] == pytest.approx(before, abs=1e-4)
    slot = int(learner.slot)
    gains = [-float(lm.embed_tokens(torch.tensor(word)) @ gradient[slot]) for word in range(len(lm.table))]
    banned = lm.vocabulary.special | {piece for own in first_pieces(lm, WORDS) for piece in own}
    allowed = [w for w in learner.allowed.tolist() if w not in banned]
    wanted = sorted(allowed, key=lambda word: -gains[word])[:5]
    assert [gains[word] for word in learner.tried.tolist()] == pytest.approx([gains[w] for w in wanted], abs=1e-4)

    fresh = AutoPrompt.for_task(lm, task(), CONFIG, seed=4)
    vp.fit(fresh, task(), recipe(2), store=FeatureStore(tmp_path))
    losses = {}
    for word in learner.tried.tolist():
        other = [blank, blank]
        other[slot] = word
        losses[word] = float(own_loss(lm, other))
    best = min(losses, key=losses.__getitem__)
    after = float(own_loss(lm, fresh.trigger.tolist()))
    assert after == pytest.approx(min(before, losses[best]), abs=1e-4)
    if losses[best] < before:
        assert fresh.trigger[1 - slot] == blank, "one slot an iteration"


def test_the_loss_never_rises_and_the_search_is_repeatable(tiny_lm: Make, tmp_path: Path) -> None:
    lm, store = tiny_lm("bert"), FeatureStore(tmp_path)
    first, second = (AutoPrompt.for_task(lm, task(), CONFIG, seed=1) for _ in range(2))
    losses = vp.fit(first, task(), recipe(16), store=store).losses
    assert all(later <= earlier + 1e-6 for earlier, later in itertools.pairwise(losses))
    assert losses[-1] < losses[0]
    vp.fit(second, task(), recipe(16, batch_size=2), store=store)
    assert torch.equal(first.trigger, second.trigger), "batches are summed"
    third = AutoPrompt.for_task(lm, task(), CONFIG, seed=1)
    vp.fit(third, task(), recipe(16, batch_size=3), store=store)
    assert torch.equal(first.trigger, third.trigger), "and the incomplete one counts"
    assert not set(first.trigger.tolist()) & {piece for own in first_pieces(lm, WORDS) for piece in own}
    assert first.words == tuple(lm.vocabulary.shown(first.trigger.tolist()))


def test_an_interrupted_search_resumes(tiny_lm: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm, store, state = tiny_lm("bert"), FeatureStore(tmp_path), tmp_path / "state.safetensors"
    monkeypatch.setattr(resume, "SAVE_SECONDS", 0.0)
    whole = AutoPrompt.for_task(lm, task(val=True), CONFIG, seed=1)
    vp.fit(whole, task(val=True), recipe(9), store=store)
    for stop in (3, 4):  # between candidates and choice, and between iterations
        broken = AutoPrompt.for_task(lm, task(val=True), CONFIG, seed=1)
        end = broken.end_epoch

        def die(epoch: int, epochs: int, end: Any = end, stop: int = stop) -> None:
            if epoch > stop:
                raise KeyboardInterrupt
            end(epoch, epochs)

        monkeypatch.setattr(broken, "end_epoch", die)
        with pytest.raises(KeyboardInterrupt):
            vp.fit(broken, task(val=True), recipe(9), store=store, state=state)
        again = AutoPrompt.for_task(lm, task(val=True), CONFIG, seed=1)
        report = vp.fit(again, task(val=True), recipe(9), store=store, state=state)
        assert report.resumed_from == stop
        assert torch.equal(again.trigger, whole.trigger)


@pytest.mark.parametrize("val", [True, False])
def test_the_best_trigger_on_validation_texts_is_used(val: bool, tiny_lm: Make) -> None:
    learner = AutoPrompt.for_task(tiny_lm("bert"), task(), CONFIG, seed=1)
    texts = text_batches(task().train, batch_size=4)
    learner.prepare(texts, texts if val else None)
    start, before = learner.trigger.clone(), float(learner.best_loss)
    (batch,) = texts.epoch(0)
    assert before == (pytest.approx(float(learner.loss(batch))) if val else math.inf)
    if val:
        learner.best_loss.fill_(0.0)  # as if the start had been perfect on validation
    for epoch in range(1, 5):
        learner.backward(batch)
        learner.end_epoch(epoch, 5)
    assert not torch.equal(learner.trigger, start), "the search continued"
    learner.end_epoch(5, 5)
    assert torch.equal(learner.trigger, start) is val


def test_triggers_are_before_the_blank_or_where_the_template_has_them(tiny_lm: Make, tmp_path: Path) -> None:
    assert add_triggers("{text} it was {mask}.", 3) == "{text} it was {soft:3} {mask}."
    assert add_triggers("{mask} {text}", 2) == "{soft:2} {mask} {text}"
    assert add_triggers("{soft:it was} {text} {mask}", 3) == "{soft:it was} {text} {mask}"
    lm = tiny_lm("roberta")
    own = AutoPrompt.for_task(lm, task(), replace(CONFIG, template="{text} {soft:it was} {mask}"))
    assert own.trigger.tolist() == lm.vocabulary.pieces(" it was")
    vp.fit(own, task(), recipe(6), store=FeatureStore(tmp_path))
    own.save(tmp_path / "prompt")
    again = vp.load(tmp_path / "prompt", lm)
    assert torch.equal(again.trigger, own.trigger)
    again.set_classes(["it", "was"])


def test_capitals_special_tokens_and_label_words_are_no_triggers(tiny_lm: Make) -> None:
    lm = tiny_lm("roberta")
    learner = AutoPrompt.for_task(lm, task(), replace(CONFIG, candidates=1000))
    words = lm.vocabulary.tokenizer.batch_decode([[piece] for piece in learner.allowed.tolist()])
    assert "It" in {lm.vocabulary.tokenizer.decode([p]).strip() for p in range(len(lm.vocabulary.tokenizer))}
    assert not any(each.strip()[:1].isupper() for each in words)
    assert not set(learner.allowed.tolist()) & lm.vocabulary.special
    learner.gradient.normal_(generator=torch.Generator().manual_seed(1))
    learner.propose(1)
    tried = [word for word in learner.tried.tolist() if word >= 0]
    assert len(tried) == len(set(tried)) < 1000, "no more candidates than there are"
    assert not set(tried) & {piece for own in first_pieces(lm, WORDS) for piece in own}
    assert math.isinf(learner.best_loss)


def test_without_the_filter_every_word_may_be_a_trigger(tiny_lm: Make) -> None:
    lm = tiny_lm("roberta")
    learner = AutoPrompt.for_task(lm, task(), replace(CONFIG, candidates=1000, filter=False))
    learner.gradient.normal_(generator=torch.Generator().manual_seed(1))
    learner.propose(1)
    tried = {word for word in learner.tried.tolist() if word >= 0}
    assert tried >= lm.vocabulary.special
    assert tried >= {piece for own in first_pieces(lm, WORDS) for piece in own}
