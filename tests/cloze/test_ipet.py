"""Each generation of iPET learns from texts that a quarter of the other models label."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import vlprompt as vp
from tests.cloze.texts import NOUNS, examples, opinions
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import IPET, IPETConfig, ipet
from vlprompt.cloze.parts.ensemble import Votes
from vlprompt.cloze.parts.training_texts import TrainingTexts
from vlprompt.errors import VlpromptWarning
from vlprompt.randomness import mixed

Make = Callable[[str], LanguageModel]
PATTERNS = ("{text} it was {mask} .", "{mask} ! {text}")
ROWS = opinions(*NOUNS)
REST = examples([f"i {verb} the {noun} , it was {word}" for verb in ("saw", "liked", "left") for noun in NOUNS
                 for word in ("dull", "fine", "it")], [-1] * 36)  # fmt: skip
TEXTS = TrainingTexts(ROWS, REST)
TASK = vp.Task("opinions", ("no", "yes"), PATTERNS, ROWS, (), ROWS, REST, words=(("bad",), ("good",)))


def test_a_generation_learns_from_the_labels_of_a_quarter_of_the_others(tiny_lm: Make) -> None:
    """d^(g+1) times as many texts, in the ratio of the classes, labelled by the merged quarter, none twice."""
    learner = IPET.for_task(tiny_lm("bert"), TASK, IPETConfig(growth=2.0), seed=1)
    generator = torch.Generator().manual_seed(0)
    votes = Votes(torch.randn(8, len(REST), 2, generator=generator), torch.rand(8, generator=generator))
    places = {str(row.item): number for number, row in enumerate(REST)}
    for number in range(8):
        grown = learner.grow(TEXTS, votes, number, 0)
        assert (grown.labelled[:8], grown.unlabelled) == (ROWS, REST)
        new = grown.labelled[8:]
        labels = [row.label for row in new]
        assert labels.count(0) == labels.count(1) == 4
        assert len({str(row.item) for row in new}) == 8
        quarter = ipet.draw_teachers(8, number, 0.25, torch.Generator().manual_seed(mixed(1, "grown", number, 0)))
        assert len(quarter) == 2
        assert number not in quarter
        weights = votes.weights[quarter, None, None]
        merged = (votes.logits[quarter] * weights).sum(0).argmax(1)
        assert labels == [int(merged[places[str(row.item)]]) for row in new]
    draws = {str(learner.grow(TEXTS, votes, 0, generation).labelled) for generation in (0, 1)}
    other = IPET.for_task(tiny_lm("bert"), TASK, IPETConfig(growth=2.0), seed=2)
    assert len(draws | {str(other.grow(TEXTS, votes, 0, 0).labelled)}) == 3, "generations and seeds draw anew"


def test_texts_are_sampled_in_proportion_to_the_probability_of_their_label() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.1, 0.9], [0.2, 0.8]])
    counts = torch.zeros(5)
    for seed in range(3000):
        for place, label in ipet.sample_texts(probabilities, [1, 1], torch.Generator().manual_seed(seed)):
            assert label == (place > 1)
            counts[place] += 1
    expected = torch.tensor([0.9, 0.6, 0.7, 0.9, 0.8]) / torch.tensor([1.5, 1.5, 2.4, 2.4, 2.4])
    torch.testing.assert_close(counts / 3000, expected, rtol=0, atol=0.03)


def test_of_a_class_with_too_few_texts_they_are_repeated() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8]])
    with pytest.warns(VlpromptWarning, match="1 of 2 classes have fewer pseudo-labelled texts than wanted"):
        chosen = ipet.sample_texts(probabilities, [1, 5], torch.Generator().manual_seed(0))
    own = [place for place, label in chosen if label == 1]
    assert len(own) == 5, "drawn without replacement from three times two texts"
    assert {own.count(2), own.count(3)} == {2, 3}
    with pytest.warns(VlpromptWarning, match="1 of 2 classes"):
        none = ipet.sample_texts(torch.tensor([[0.9, 0.1]]), [1, 5], torch.Generator())
    assert none == [(0, 0)], "a class that is predicted for no text gets none"


def test_the_first_generation_may_draw_among_the_most_probable_texts() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.1, 0.9]])
    drawn = [ipet.sample_texts(probabilities, [1, 2], torch.Generator().manual_seed(seed), 3) for seed in range(200)]
    assert all([label for _, label in each] == [0, 1, 1] for each in drawn)
    assert {each[0][0] for each in drawn} == {0, 1, 2}, "the third is more probable as the other class"
    assert {place for each in drawn for place, label in each if label} == {1, 2, 3}
    assert ipet.class_counts(32, torch.tensor([0, 0, 0, 1]), 3) == [24, 8, 0]
    assert ipet.class_counts(8, torch.tensor([0, 0, 1]), 2) == [5, 2], "as int() of the authors' code"


def test_members_are_weighted_by_the_texts_labelled_by_hand(tiny_lm: Make) -> None:
    learner = IPET.for_task(tiny_lm("bert"), TASK, IPETConfig(steps=1, repetitions=1, growth=2.0), seed=1)
    wrong = tuple(vp.Example(row.item, 1 - row.label) for row in ROWS)
    grown = TrainingTexts(ROWS + wrong, REST, grown=len(wrong))
    assert grown.by_hand == ROWS
    _, weight = learner.ensemble.vote(0, grown, 1)
    assert weight == learner.ensemble.vote(0, TEXTS, 1)[1]
    votes = Votes(torch.randn(2, len(REST), 2, generator=torch.Generator().manual_seed(0)), torch.ones(2))
    assert learner.grow(TEXTS, votes, 0, 0).by_hand == ROWS


def test_a_single_member_is_its_own_teacher() -> None:
    assert ipet.draw_teachers(1, 0, 0.25, torch.Generator()) == [0]


@pytest.mark.filterwarnings("ignore:. of 2 classes have fewer")
def test_generations_depend_on_the_seed(tiny_lm: Make) -> None:
    def scores(seed: int) -> Tensor:
        config = IPETConfig(steps=2, repetitions=2, generations=2, growth=2.0)
        return IPET.for_task(tiny_lm("bert"), TASK, config, seed=seed).ensemble_scores(TEXTS)

    first, again, other = scores(1), scores(1), scores(2)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
