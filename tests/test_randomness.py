"""Random numbers depend on their seed, and the global state stays unchanged."""

import pytest
import torch

from vlprompt.errors import UsageError
from vlprompt.randomness import check_seed, mixed, normal, random_state, seeded


def test_equal_seeds_give_equal_numbers_and_the_global_state_stays() -> None:
    before = torch.random.get_rng_state()
    assert torch.equal(normal(3, 4, seed=1), normal(3, 4, seed=1))
    assert not torch.equal(normal(3, 4, seed=1), normal(3, 4, seed=2))
    for context in (seeded(5), random_state(5, torch.device("cpu"))):
        with context:
            inside = torch.rand(3)
        assert torch.equal(inside, torch.rand(3, generator=torch.Generator().manual_seed(5)))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_mixed_seeds_are_the_same_on_every_machine() -> None:
    assert mixed(1, "unlabelled") == mixed("1", "unlabelled") < 2**63
    assert len({mixed(seed, epoch) for seed in range(20) for epoch in range(20)}) == 400


def test_normal_has_the_requested_spread() -> None:
    assert abs(float(normal(100, 100, seed=0).mean())) < 0.001
    for std in (0.02, 1.0):
        assert float(normal(100, 100, seed=0, std=std).std()) == pytest.approx(std, rel=0.05)


@pytest.mark.parametrize("seed", [-1, 2**32, 10**20, 1.0, "1", None, True, "9" * 10**6])
def test_a_seed_that_not_every_library_takes_is_one_short_line(seed: object) -> None:
    with pytest.raises(UsageError, match=r"seed is .*; it must be a whole number from 0 to 4294967295\.") as caught:
        check_seed(seed)
    assert len(str(caught.value)) < 150
    assert [check_seed(0), check_seed(2**32 - 1)] == [0, 2**32 - 1]
