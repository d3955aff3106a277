"""Candidates that each text provides: their scores, texts with fewer candidates, training and errors."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import vlprompt as vp
from tests.cloze.texts import NOUNS, TEMPLATE, batch
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import (
    HardPrompt,
    HardPromptConfig,
    PromptOrientedFineTuning,
    PromptOrientedFineTuningConfig,
    PromptTuning,
    PromptTuningConfig,
    SoftVerbalizer,
)
from vlprompt.cloze.parts.choices import choice_fields
from vlprompt.data.texts import Text
from vlprompt.errors import UsageError

Make = Callable[[str], LanguageModel]
WORDS = (("{one}",), ("{two}",), ("{three}",))
ROWS = (
    Text.of(text="the film was", one="great", two="the story was dull", three="saw"),
    Text.of(text="i saw", one="the actor", two="music"),
    Text.of(text="it", two="bad"),
)


def hard_prompt(lm: LanguageModel, words: tuple[tuple[str, ...], ...] = WORDS) -> HardPrompt:
    """An untrained prompt with numbered classes."""
    return HardPrompt(lm, [str(number) for number in range(len(words))], HardPromptConfig(TEMPLATE, words))


def expected(lm: LanguageModel, text: Text, candidate: str) -> float:
    """A candidate's score by the library alone, one row at a time: blanks filled likeliest first, or a mean."""
    pieces = lm.vocabulary.pieces(" " + candidate)
    lead = [*lm.vocabulary.lead, *lm.vocabulary.pieces(text["text"]), *lm.vocabulary.pieces(" it was")]

    def log_prob(ids: list[int], read: int, piece: int) -> float:
        with torch.no_grad():
            return float(lm.model(input_ids=torch.tensor([ids])).logits[0, read].double().log_softmax(0)[piece])

    if lm.kind == "causal":
        each = [log_prob([*lead, *pieces[:at]], len(lead) + at - 1, piece) for at, piece in enumerate(pieces)]
        return sum(each) / len(pieces)
    held, left, total = [lm.vocabulary.blank] * len(pieces), set(range(len(pieces))), 0.0
    while left:
        ids = [*lead, *held, *lm.vocabulary.tail]
        found = {at: log_prob(ids, len(lead) + at, pieces[at]) for at in left}
        best = max(found, key=found.__getitem__)
        held[best], total = pieces[best], total + found[best]
        left.remove(best)
    return total


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2"])
def test_scores_are_log_probabilities_and_missing_candidates_are_never_predicted(name: str, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    learner = hard_prompt(lm)
    scores = learner.predict(batch(*ROWS)).double()
    for row, text in zip(scores, ROWS, strict=True):
        for score, field in zip(row, ("one", "two", "three"), strict=True):
            if field in text:
                assert float(score) == pytest.approx(expected(lm, text, text[field]), abs=1e-4)
            else:
                assert score == -torch.inf
    assert int(scores[2].argmax()) == 1, "the only candidate"
    alone = torch.cat([learner.predict(batch(text)) for text in ROWS])
    torch.testing.assert_close(alone.double(), scores, rtol=0, atol=1e-5)


def test_a_t5_reads_candidates_of_one_piece(tiny_lm: Make) -> None:
    learner = hard_prompt(tiny_lm("t5"))
    scores = learner.predict(batch(Text.of(text="it", one="great", two="bad")))
    wanted = hard_prompt(tiny_lm("t5"), (("great",), ("bad",))).predict(batch("it"))
    torch.testing.assert_close(scores[:, 0] - scores[:, 1], wanted[:, 0] - wanted[:, 1])
    with pytest.raises(UsageError, match="'the actor' is 2 pieces; an encoder-decoder reads one"):
        learner.predict(batch(ROWS[1]))


def test_candidates_of_one_piece_score_as_label_words_do(tiny_lm: Make) -> None:
    lm, text = tiny_lm("bert"), Text.of(text="the film was", one="great", two="bad")
    own = hard_prompt(lm, WORDS[:2]).predict(batch(text))
    torch.testing.assert_close(own.softmax(1), hard_prompt(lm, (("great",), ("bad",))).predict(batch(text)).softmax(1))


def test_a_prompt_learns_to_choose_through_the_same_fit_and_evaluate(make_lm: Make) -> None:
    """The label depends on the candidates, not on their places."""
    texts = [(f"the {noun}", ("great", "bad")[:: 1 if number % 2 else -1]) for number, noun in enumerate(NOUNS * 4)]
    rows = tuple(vp.Example(Text.of(text=t, one=own[0], two=own[1]), own.index("great")) for t, own in texts)
    task = vp.Task("candidates", ("1", "2"), (TEMPLATE,), rows, (), rows, words=WORDS[:2])
    learner = PromptTuning.for_task(make_lm("bert"), task, PromptTuningConfig(length=2))
    report = vp.fit(learner, task, replace(vp.cloze.prompt_tuning.RECIPE, epochs=30, lr=0.05, batch_size=16))
    assert report.losses[-1] < 0.5 * report.losses[0]
    assert vp.evaluate(learner, task).metrics["top1"] == 1.0
    hard = HardPrompt.for_task(learner.backbone, task, HardPromptConfig())
    assert torch.equal(vp.evaluate(hard, task).scores, hard.predict(batch(*(each.item for each in rows))))
    with pytest.raises(UsageError, match="soft_verbalizer needs the same label words for all texts; use hard_prompt"):
        SoftVerbalizer.for_task(learner.backbone, task, vp.cloze.SoftVerbalizerConfig())


def test_pieces_select_the_order_and_the_sum(tiny_lm: Make) -> None:
    def scores(name: str, pieces: Any) -> Tensor:
        config = HardPromptConfig(TEMPLATE, WORDS, pieces=pieces)
        return HardPrompt(tiny_lm(name), ["a", "b", "c"], config).predict(batch(*ROWS))

    counts = torch.tensor([[len(tiny_lm("gpt2").vocabulary.pieces(" " + text.get(field, "x"))) for field in
                            ("one", "two", "three")] for text in ROWS])  # fmt: skip
    torch.testing.assert_close(scores("gpt2", "left_to_right"), scores("gpt2", "single") * counts)
    assert torch.equal(scores("gpt2", "left_to_right_mean"), scores("gpt2", "single"))
    assert torch.equal(scores("bert", "masks"), scores("bert", "single"))
    assert not torch.equal(scores("bert", "masks_parallel"), scores("bert", "single"))
    for name, pieces in (("bert", "left_to_right"), ("gpt2", "masks"), ("bert", "first"), ("gpt2", "mean")):
        with pytest.raises(UsageError, match=f"pieces='{pieces}'"):
            scores(name, pieces)
    with pytest.raises(UsageError, match="candidates take up to 24 tokens and a row has 20; raise max_length"):
        HardPrompt(tiny_lm("bert"), ["a", "b", "c"], HardPromptConfig(TEMPLATE, WORDS, max_length=20))


def test_a_trained_model_needs_a_margin_between_means_over_the_batch(tiny_lm: Make) -> None:
    """Both candidates in as many blanks as the longer one, all read at once (PET, CopaTaskHelper)."""
    lm, labels = tiny_lm("bert"), (1, 0)
    learner = PromptOrientedFineTuning(lm, ("1", "2"), PromptOrientedFineTuningConfig(TEMPLATE, WORDS[:2])).eval()
    found: dict[bool, list[float]] = {True: [], False: []}
    for text, label in zip(ROWS[:2], labels, strict=True):
        pieces = [lm.vocabulary.pieces(" " + text[field]) for field in ("one", "two")]
        lead = [*lm.vocabulary.lead, *lm.vocabulary.pieces(text["text"]), *lm.vocabulary.pieces(" it was")]
        ids = [*lead, *[lm.vocabulary.blank] * max(map(len, pieces)), *lm.vocabulary.tail]
        log_probs = lm.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(1)
        for choice, own in enumerate(pieces):
            found[choice == label] += [float(log_probs[len(lead) + at, piece]) for at, piece in enumerate(own)]
    means = {right: sum(each) / len(each) for right, each in found.items()}
    loss = float(learner.loss(batch(*ROWS[:2], labels=labels)).detach())
    assert loss == pytest.approx(max(0.0, 1 - means[True] + means[False]), abs=1e-4)
    swapped = float(learner.loss(batch(*ROWS[:2], labels=(0, 1))).detach())
    assert max(loss, swapped) > 0


def test_long_candidates_are_cut_and_long_texts_are_cut_for_them(tiny_lm: Make) -> None:
    long = Text.of(text="the film " * 60, one="great " * 50, two="bad")
    assert hard_prompt(tiny_lm("bert"), WORDS[:2]).predict(batch(long)).isfinite().all()


def test_impossible_candidates_are_refused(tiny_lm: Make) -> None:
    with pytest.raises(UsageError, match="give each class one field, or all of them words"):
        choice_fields((("{one}",), ("great",)))
    with pytest.raises(UsageError, match="give each class one field"):
        choice_fields((("{one}", "{two}"), ("{three}",)))
    assert choice_fields((("great",), ("bad",))) == ()
    with pytest.raises(UsageError, match="no content-free scores"):
        HardPrompt(tiny_lm("bert"), ["a", "b", "c"], HardPromptConfig(TEMPLATE, WORDS, calibrate="contextual"))
    with pytest.raises(UsageError, match="no candidate; give it one of the fields one, two, three"):
        hard_prompt(tiny_lm("bert")).predict(batch("it"))


def test_a_refused_change_of_classes_leaves_the_candidates(tiny_lm: Make) -> None:
    learner = hard_prompt(tiny_lm("bert"))
    before = learner.predict(batch(*ROWS))
    with pytest.raises(UsageError, match="label word ' greatly'"):
        learner.set_classes(["greatly", "good", "bad"])
    assert torch.equal(learner.predict(batch(*ROWS)), before)
    learner.set_classes(["good", "bad"])
    assert learner.predict(batch(*ROWS)).isfinite().all()
