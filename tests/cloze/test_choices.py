"""Candidates that each text brings along: scores against a plain computation, texts with fewer, training, refusals."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

import vlprompt as vp
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import HardPrompt, HardPromptConfig, PromptTuning, PromptTuningConfig
from vlprompt.cloze.choices import own_words
from vlprompt.data import Batch, Example, Task, Text
from vlprompt.errors import UsageError

Make = Callable[[str], LanguageModel]
WORDS = (("{one}",), ("{two}",), ("{three}",))
ROWS = (
    Text.of(text="the film was", one="great", two="the story was dull", three="saw"),
    Text.of(text="i saw", one="the actor", two="music"),
    Text.of(text="it", two="bad"),
)
TEMPLATE = "{text} it was {mask}"


def batch(*texts: Text) -> Batch:
    count = torch.arange(len(texts))
    return Batch(torch.ones_like(count), count, texts=texts)


def plain(lm: LanguageModel, text: Text, candidate: str) -> float:
    """Mean log-probability of a candidate's pieces by the library alone, from ids, one row at a time."""
    pieces = lm.vocabulary.pieces(" " + candidate)
    lead = [*lm.vocabulary.lead, *lm.vocabulary.pieces(text["text"]), *lm.vocabulary.pieces(" it was")]
    found = 0.0
    for at, piece in enumerate(pieces):
        if lm.kind == "causal":
            ids, read = [*lead, *pieces[:at]], len(lead) + at - 1
        else:
            ids, read = [*lead, *[lm.vocabulary.blank] * len(pieces), *lm.vocabulary.tail], len(lead) + at
        with torch.no_grad():
            logits = lm.model(input_ids=torch.tensor([ids])).logits[0, read].double()
        found += float(logits.log_softmax(0)[piece])
    return found / len(pieces)


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2"])
def test_scores_are_mean_log_probabilities_and_what_is_not_offered_never_wins(name: str, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    learner = HardPrompt(lm, ["a", "b", "c"], HardPromptConfig(template=TEMPLATE, words=WORDS))
    found = learner.predict(batch(*ROWS)).double()
    for row, text in zip(found, ROWS, strict=True):
        for score, field in zip(row, ("one", "two", "three"), strict=True):
            if field in text:
                assert float(score) == pytest.approx(plain(lm, text, text[field]), abs=1e-4)
            else:
                assert score == -torch.inf
    assert int(found[2].argmax()) == 1, "the only candidate"
    alone = torch.cat([learner.predict(batch(text)) for text in ROWS])
    torch.testing.assert_close(alone.double(), found, rtol=0, atol=1e-5)


def test_a_t5_reads_candidates_of_one_piece(tiny_lm: Make) -> None:
    config = HardPromptConfig(template=TEMPLATE, words=WORDS)
    learner = HardPrompt(tiny_lm("t5"), ["a", "b", "c"], config)
    scores = learner.predict(batch(Text.of(text="it", one="great", two="bad")))
    words = HardPrompt(tiny_lm("t5"), ["a", "b"], replace(config, words=(("great",), ("bad",))))
    wanted = words.predict(batch(Text.of(text="it")))
    torch.testing.assert_close(scores[:, 0] - scores[:, 1], wanted[:, 0] - wanted[:, 1])
    with pytest.raises(UsageError, match="'the actor' is 2 pieces; an encoder-decoder reads one"):
        learner.predict(batch(ROWS[1]))


def test_single_pieces_score_as_label_words_do(tiny_lm: Make) -> None:
    lm, text = tiny_lm("bert"), Text.of(text="the film was", one="great", two="bad")
    own = HardPrompt(lm, ["a", "b"], HardPromptConfig(template=TEMPLATE, words=WORDS[:2])).predict(batch(text))
    same = HardPromptConfig(template=TEMPLATE, words=(("great",), ("bad",)))
    torch.testing.assert_close(own.softmax(1), HardPrompt(lm, ["a", "b"], same).predict(batch(text)).softmax(1))


def test_a_prompt_learns_to_choose_through_the_same_fit_and_evaluate(make_lm: Make) -> None:
    """Which candidate is right has to do with the candidate, never with its place."""
    nouns = ("film", "story", "actor", "music")
    made = [(f"the {noun}", ("great", "bad")[:: 1 if number % 2 else -1]) for number, noun in enumerate(nouns * 4)]
    rows = tuple(Example(Text.of(text=t, one=own[0], two=own[1]), own.index("great")) for t, own in made)
    task = Task("made", ("1", "2"), (TEMPLATE,), rows, (), rows, words=WORDS[:2])
    learner = PromptTuning.for_task(make_lm("bert"), task, PromptTuningConfig(length=2))
    config = replace(vp.cloze.prompt_tuning.recipe(), epochs=30, lr=0.05, batch_size=16)
    report = vp.fit(learner, task, config)
    assert report.losses[-1] < 0.5 * report.losses[0]
    assert vp.evaluate(learner, task).metrics["top1"] == 1.0
    hard = HardPrompt.for_task(learner.backbone, task, HardPromptConfig())
    assert torch.equal(vp.evaluate(hard, task).scores, hard.predict(batch(*(each.item for each in rows))))  # type: ignore[misc]
    with pytest.raises(UsageError, match="soft_verbalizer needs the same label words for all texts; use hard_prompt"):
        vp.cloze.SoftVerbalizer.for_task(learner.backbone, task, vp.cloze.SoftVerbalizerConfig())


def test_long_candidates_are_cut_and_long_texts_make_room(tiny_lm: Make) -> None:
    learner = HardPrompt(tiny_lm("bert"), ["a", "b"], HardPromptConfig(template=TEMPLATE, words=WORDS[:2]))
    long = Text.of(text="the film " * 60, one="great " * 50, two="bad")
    assert learner.predict(batch(long)).isfinite().all()


def test_what_cannot_be_chosen_from_is_refused(tiny_lm: Make) -> None:
    with pytest.raises(UsageError, match="give each class one field, or all of them words"):
        own_words((("{one}",), ("great",)))
    with pytest.raises(UsageError, match="give each class one field"):
        own_words((("{one}", "{two}"), ("{three}",)))
    assert own_words((("great",), ("bad",))) == ()
    config = HardPromptConfig(template=TEMPLATE, words=WORDS)
    with pytest.raises(UsageError, match="no content-free scores"):
        HardPrompt(tiny_lm("bert"), ["a", "b", "c"], replace(config, calibrate="contextual"))
    with pytest.raises(UsageError, match="no candidate; give it one of the fields one, two, three"):
        HardPrompt(tiny_lm("bert"), ["a", "b", "c"], config).predict(batch(Text.of(text="it")))
