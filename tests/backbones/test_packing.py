"""Packed texts: each is in one row, and sees the tokens that it would see alone."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from vlprompt.backbones.packing import ROW, Packing, pack

CPU = torch.device("cpu")
ENDS = st.integers(1, 3).flatmap(
    lambda variants: st.lists(st.lists(st.integers(0, 19), min_size=variants, max_size=variants), min_size=1)
)


def packed(ends: list[list[int]], prefix: int, budget: int, variants: int | None = None) -> tuple[Packing, ...]:
    """Packings for (G, C) ends in suffixes of 20 tokens."""
    rows = tuple(tuple(row) for row in ends)
    return pack(rows, (variants or len(rows), prefix, 20), budget, torch.float64, CPU)


@given(by_text=ENDS, prefix=st.integers(0, 12), budget=st.integers(1, 300))
def test_every_text_sees_itself_and_the_prefix(by_text: list[list[int]], prefix: int, budget: int) -> None:
    ends = [list(own) for own in zip(*by_text, strict=True)]
    packings = packed(ends, prefix, budget)
    assert sorted(torch.cat([packing.texts for packing in packings]).tolist()) == list(range(len(by_text)))
    for number, packing in enumerate(packings):
        rows, length = packing.mask.shape[0], packing.mask.shape[2]
        assert rows == 1 or rows * length <= budget
        ahead = 0 if number else prefix
        tokens = torch.cat([torch.full((ahead,), -1), packing.tokens])
        assert len(tokens) == len(packing.positions) == rows * length
        places = packing.ends.reshape(len(ends), -1)
        for variant, (own, its_places) in enumerate(zip(ends, places.tolist(), strict=True)):
            for text, place in zip(packing.texts.tolist(), its_places, strict=True):
                last = place - variant * rows * length
                start = last - own[text]
                assert start // length == last // length  # in one row
                assert tokens[start : last + 1].tolist() == list(range(20 * text, 20 * text + own[text] + 1))
                assert packing.positions[start : last + 1].tolist() == list(range(prefix, prefix + own[text] + 1))
                seen = packing.mask[last // length, 0, last % length] == 0
                own_row = range(start % length, last % length + 1)
                assert seen.nonzero().flatten().tolist() == [*range(prefix), *(prefix + at for at in own_row)]


def test_the_prefix_is_first_and_sees_itself() -> None:
    first, *others = packed([[3] * 40], prefix=5, budget=40)
    assert others
    assert first.positions[:5].tolist() == [0, 1, 2, 3, 4]
    sees = first.mask[0, 0, :5] == 0
    assert not sees[:, :5].any()  # only as the prefix that was run before
    assert torch.equal(sees[:, 5:10], torch.ones(5, 5, dtype=torch.bool).tril())
    assert not sees[:, 10:].any()
    assert all(len(packing.tokens) == len(packing.positions) for packing in others)


def test_padding_sees_at_least_one_token() -> None:
    """A softmax over nothing is NaN, and its gradient would reach all tokens."""
    for packing in packed([[0, 2, 4, 18, 19]], prefix=0, budget=300):
        assert (packing.mask == 0).any(dim=-1).all()


def test_there_is_little_padding() -> None:
    lengths = torch.randint(2, 10, (200,), generator=torch.Generator().manual_seed(0)).tolist()
    (packing,) = packed([[length - 1 for length in lengths]], prefix=17, budget=2048)
    assert packing.mask.shape[2] <= ROW
    assert len(packing.positions) < 1.05 * (17 + sum(lengths))
    few = packed([[3] * 13], prefix=17, budget=2048)[0]  # 69 tokens: two rows of 35 to 37, not of 64
    assert len(few.positions) <= 74


def test_packings_are_few_and_of_similar_size() -> None:
    packings = packed([[9] * 54], prefix=0, budget=299)  # rows of six texts, four of which would fit
    assert [len(packing.positions) for packing in packings] == [180, 180, 180]


def test_variants_with_equal_ends_share_a_packing() -> None:
    (one,) = packed([[3, 1, 6]], prefix=2, budget=100)
    (three,) = packed([[3, 1, 6]], prefix=2, budget=100, variants=3)
    size = len(one.positions)
    assert three.ends.tolist() == [place + variant * size for variant in range(3) for place in one.ends.tolist()]
    assert torch.equal(one.tokens, three.tokens)


def test_a_packing_is_computed_once() -> None:
    assert packed([[1, 2, 3]], 4, 50)[0] is packed([[1, 2, 3]], 4, 50)[0]
