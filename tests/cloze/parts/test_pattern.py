"""PET's loss of a pattern: label words, and arbitrary blanks of unlabelled texts."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from tests.cloze import texts
from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import Sequences
from vlprompt.cloze import PromptOrientedFineTuning, PromptOrientedFineTuningConfig
from vlprompt.errors import UsageError

Make = Callable[[str], LanguageModel]
UNLABELLED = texts.batch(*["the film was good and i saw it"] * 200)
BATCH = texts.batch("the film was great .", "i saw the story", "the actor was dull", "it", labels=(1, 0, 0, 1))


def masked(learner: PromptOrientedFineTuning) -> tuple[Sequences, torch.Tensor]:
    """The unlabelled texts with words to be predicted, with a fixed seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return learner.mask_words(learner.sequences(UNLABELLED))


def test_a_causal_model_has_no_arbitrary_blanks(tiny_lm: Make) -> None:
    with pytest.raises(UsageError, match="no arbitrary blanks to learn, a masked model has; set lm_training=false"):
        PromptOrientedFineTuning(tiny_lm("gpt2"), ("bad", "good"), PromptOrientedFineTuningConfig(lm_training=True))


def test_fifteen_percent_of_the_words_are_masked_and_no_special_tokens(tiny_lm: Make) -> None:
    lm = tiny_lm("bert")
    learner = PromptOrientedFineTuning(lm, ("bad", "good"))
    original = learner.sequences(UNLABELLED)
    changed, targets = masked(learner)
    chosen = targets != -100
    assert not chosen[torch.isin(original.ids, torch.tensor(sorted(lm.vocabulary.special)))].any()
    share = chosen.float().mean() / (8 / original.ids.shape[1])
    assert 0.12 < share < 0.18
    assert 0.7 < (changed.ids[chosen] == lm.vocabulary.blank).float().mean() < 0.9
    assert torch.equal(changed.ids[~chosen], original.ids[~chosen])


def test_arbitrary_blanks_have_a_weight_in_the_loss(tiny_lm: Make) -> None:
    lm, both = tiny_lm("bert"), replace(BATCH, unlabelled=UNLABELLED)
    learner = PromptOrientedFineTuning(lm, ("bad", "good")).eval()
    words, blanks = learner.loss(BATCH), learner.masked_words_loss(*masked(learner))
    assert blanks > 0
    assert torch.equal(learner.loss(both), words), "only with lm_training"
    config = replace(learner.config, alpha=0.25, lm_training=True)
    weighted = PromptOrientedFineTuning(lm, ("bad", "good"), config).eval()
    assert weighted.needs.unlabelled
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        torch.testing.assert_close(weighted.loss(both), 0.25 * words + 0.75 * blanks)
