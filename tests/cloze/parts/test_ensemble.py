"""Members of an ensemble are trained one after another, and their scores are weighted by their accuracy before."""

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import vlprompt as vp
from tests.cloze.texts import NOUNS, batch, examples, opinions
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import PET, HardPrompt, HardPromptConfig, PETConfig
from vlprompt.cloze.parts import ensemble
from vlprompt.cloze.parts.ensemble import Votes
from vlprompt.cloze.parts.training_texts import TrainingTexts
from vlprompt.errors import VlpromptWarning

Make = Callable[[str], LanguageModel]
WORDS = (("bad",), ("good",))
PATTERNS = ("{text} it was {mask} .", "{mask} ! {text}", "{text} ? {mask}")
ROWS = opinions(*NOUNS)
REST = examples([f"i {verb} the {noun}" for verb in ("saw", "liked", "left") for noun in NOUNS], [-1] * 12)
TEXTS = TrainingTexts(ROWS, REST)
TASK = vp.Task("opinions", ("no", "yes"), PATTERNS, ROWS, (), ROWS, REST, words=WORDS)


def untrained(lm: LanguageModel, pattern: str, rows: tuple[vp.Example, ...]) -> Tensor:
    """(N, C) scores of a hard prompt, text by text."""
    learner = HardPrompt(lm, TASK.classes, HardPromptConfig(pattern, WORDS))
    return torch.cat([learner.predict(batch(row.item)) for row in rows])


def test_votes_are_weighted_by_accuracy_before_training(make_lm: Callable[..., LanguageModel]) -> None:
    lm, rows = make_lm("bert"), ROWS[1:]
    labels = torch.tensor([row.label for row in rows])
    leanings = [float((scores[:, 1] - scores[:, 0]).median()) for scores in (untrained(lm, p, rows) for p in PATTERNS)]
    good = lm.vocabulary.pieces(" good")[0]  # its bias is shifted, so that the patterns answer differently
    lm.model.get_output_embeddings().bias.data[good] -= (min(leanings) + max(leanings)) / 2
    accuracies = [float((untrained(lm, p, rows).argmax(1) == labels).float().mean()) for p in PATTERNS]
    assert len(set(accuracies)) > 1, "the patterns must differ for this test"
    logits = [untrained(lm, p, REST) for p in PATTERNS]
    for reduction, weights in (("wmean", accuracies), ("mean", [1.0] * 3)):
        learner = PET.for_task(lm, TASK, PETConfig(steps=0, repetitions=1, reduction=reduction))
        scores = learner.ensemble_scores(TrainingTexts(rows, REST))
        expected = sum(w * each for w, each in zip(weights, logits, strict=True)) / sum(weights)
        torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)


def test_members_that_were_never_right_have_equal_weight() -> None:
    votes = Votes(torch.randn(3, 5, 2), torch.zeros(3))
    with pytest.warns(VlpromptWarning, match="no model of the ensemble was right"):
        torch.testing.assert_close(votes.merge(), votes.logits.mean(0))


def test_one_member_is_in_memory_at_a_time(tiny_lm: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    counts: list[int] = []
    class_scores = ensemble.class_scores

    def count(learner: Any, rows: Any) -> Tensor:
        alive.add(learner)
        counts.append(len(alive))
        return class_scores(learner, rows)

    monkeypatch.setattr(ensemble, "class_scores", count)
    config = PETConfig(steps=4, repetitions=2, batch_size=4, lr=1e-3)
    learner = PET.for_task(tiny_lm("bert"), TASK, config, seed=1)
    votes = learner.ensemble.votes([TEXTS] * 6, "")
    assert counts == [1] * 12
    pairs = [(a, b) for a in range(6) for b in range(a)]
    assert all(not torch.equal(votes.logits[a], votes.logits[b]) for a, b in pairs), "every member has its own draws"
    assert torch.equal(votes.weights[0::2], votes.weights[1::2]), "weights are from before training"
    again = PET.for_task(tiny_lm("bert"), TASK, config, seed=1).ensemble.votes([TEXTS] * 6, "")
    assert torch.equal(again.logits, votes.logits)


def test_members_learn_arbitrary_blanks_with_lm_training(tiny_lm: Make) -> None:
    learners = [
        PET.for_task(tiny_lm("bert"), TASK, PETConfig(steps=2, lm_training=lm_training, alpha=0.1), seed=1)
        for lm_training in (False, True)
    ]
    one, other = (learner.ensemble.vote(0, TEXTS) for learner in learners)
    assert one[1] == other[1]
    assert not torch.equal(one[0], other[0])
