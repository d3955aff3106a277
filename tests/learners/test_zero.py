"""ZERO against a count by hand, ties and all."""

from collections import Counter

import pytest
import torch

from vlprompt.backbones.clip import Clip
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.learners.zero import Zero, ZeroConfig, count_votes


def elect(answers: list[int], voters: int) -> tuple[int, dict[int, float]]:
    """The winner and the shares of votes; answers are those of views, the most certain first."""
    votes = Counter(answers[:voters])
    tied = {name for name, count in votes.items() if count == max(votes.values())}
    winner = next(name for name in answers[voters:] + answers[:voters] if name in tied)
    if len(tied) > 1:
        votes[winner] += 1
    return winner, {name: count / sum(votes.values()) for name, count in votes.items()}


@pytest.mark.parametrize(
    ("answers", "voters", "winner"),
    [
        ([0, 1, 1, 2, 2, 2], 3, 1),  # a majority, whatever the others are
        ([0, 1, 2, 1, 0, 0], 2, 1),  # a tie; the first remaining view names neither, the next one decides
        ([0, 1, 2, 2, 2, 2], 2, 0),  # no remaining view names a tied class: the most certain voter
        ([3, 3, 0, 0, 1, 1], 6, 3),  # all views vote
        ([2, 0, 0, 0, 0, 0], 1, 2),
    ],
)
def test_votes_and_ties(answers: list[int], voters: int, winner: int) -> None:
    got = count_votes(torch.tensor([answers]), voters, 4)[0]
    assert int(got.argmax()) == winner == elect(answers, voters)[0]
    assert (got == got.max()).sum() == 1
    for name, share in elect(answers, voters)[1].items():
        assert float(got[name] / got.sum()) == pytest.approx(share)


def test_an_election_among_random_answers() -> None:
    answers = torch.randint(5, (200, 12), generator=torch.Generator().manual_seed(1))
    got = count_votes(answers, 4, 5)
    assert got.argmax(1).tolist() == [elect(row, 4)[0] for row in answers.tolist()]


def test_the_most_certain_views_vote(small: Clip, names: tuple[str, ...]) -> None:
    learner = Zero(small, names)
    held = torch.randn(6, 20, 32, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    index = torch.arange(6)
    got = learner.predict(Batch(index, index, views=held))
    for image, row in zip(held, got, strict=True):
        p = (small.logit_scale * (image / image.norm(dim=1, keepdim=True)) @ learner.class_features().T).softmax(1)
        order = sorted(range(20), key=lambda i: float(-(p[i] * p[i].log()).sum()))
        winner, shares = elect([int(p[i].argmax()) for i in order], 6)  # int(0.3 * 20)
        assert int(row.argmax()) == winner
        assert float(row.softmax(0)[winner]) == pytest.approx(shares[winner], abs=1e-5)


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(UsageError, match=r"ZeroConfig.views is 1; it must be a whole number, 2 or more"):
        ZeroConfig(views=1)
    with pytest.raises(UsageError, match=r"ZeroConfig.confident is 0.0; it must be a number, above 0 and at most 1"):
        ZeroConfig(confident=0)
