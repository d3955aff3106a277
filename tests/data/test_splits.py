import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlprompt.data.images import Example
from vlprompt.data.splits import by_class, draw, draw_few_shot, short_classes, split_by_seed, split_labels
from vlprompt.data.task import relabel

LABELS = st.lists(st.integers(0, 6), max_size=60)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("shots", [1, 2, 4, 8, 16])
def test_draws_what_the_published_code_draws(shared: Path, seed: int, shots: int) -> None:
    golden = np.load(shared / "goldens/clip/fewshot_sampling.npz")
    train, val = draw_few_shot(golden["train_label"].tolist(), golden["val_label"].tolist(), shots, seed)
    assert train == golden[f"train_seed{seed}_shot{shots}"].tolist()
    assert val == golden[f"val_seed{seed}_shot{shots}"].tolist()


@pytest.mark.parametrize("case", ["c0", "c1", "c2"])
def test_halves_as_the_published_code_does(shared: Path, case: str) -> None:
    golden = np.load(shared / "goldens/clip/base_new_split.npz")
    halves = split_labels(golden[f"{case}_train_label"].tolist())
    for name, kept in zip(("base", "new"), halves, strict=True):
        for split in ("train", "val", "test"):
            examples = [Example(i, label) for i, label in enumerate(golden[f"{case}_{split}_label"].tolist())]
            half = relabel(examples, {label: number for number, label in enumerate(kept)})
            assert [example.item for example in half] == golden[f"{case}_{name}_{split}_index"].tolist()
            assert [example.label for example in half] == golden[f"{case}_{name}_{split}_label"].tolist()


@given(labels=LABELS, shots=st.integers(1, 8), seed=st.integers(0, 2**32))
def test_a_draw_takes_what_it_should_and_nothing_twice(labels: list[int], shots: int, seed: int) -> None:
    drawn = draw(labels, shots, random.Random(seed))
    assert len(set(drawn)) == len(drawn)
    for label in set(labels):
        assert sum(labels[i] == label for i in drawn) == min(shots, labels.count(label))
    assert [*by_class([labels[i] for i in drawn])] == [*by_class(labels)]


@given(labels=st.lists(st.integers(0, 4), max_size=12), seed=st.integers(0, 99))
def test_classes_taken_whole_consume_no_random_numbers(labels: list[int], seed: int) -> None:
    rng = random.Random(seed)
    assert draw(labels, 13, rng) == [i for members in by_class(labels).values() for i in members]
    assert rng.random() == random.Random(seed).random()


def test_a_draw_does_not_change_the_global_state() -> None:
    random.seed(5)
    before = random.getstate()
    draw_few_shot([0] * 20, [0] * 20, 4, seed=1)
    assert random.getstate() == before


def test_counts_short_classes() -> None:
    assert short_classes([0, 0, 0, 1, 1, 2], 3) == 2
    assert short_classes([], 3) == 0


@given(labels=st.lists(st.integers(0, 20), min_size=1))
def test_halves_are_disjoint_and_complete(labels: list[int]) -> None:
    base, new = split_labels(labels)
    assert sorted(base + new) == base + new == sorted(set(labels))
    assert len(base) - len(new) in (0, 1)


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6), seed=st.integers(0, 9))
def test_our_split_is_a_partition_with_training_examples(sizes: list[int], seed: int) -> None:
    groups = {f"class {i}": list(range(size)) for i, size in enumerate(sizes)}
    for name, (train, val, test) in split_by_seed(groups, seed).items():
        assert sorted(train + val + test) == groups[name]
        assert train
        assert abs(len(test) - 0.3 * len(groups[name])) <= 0.5


def test_our_split_of_a_class_does_not_depend_on_the_others() -> None:
    alone = split_by_seed({"cat": range(20)}, 1)
    assert split_by_seed({"ant": range(7), "cat": range(20)}, 1)["cat"] == alone["cat"]
    assert split_by_seed({"cat": range(20)}, 2) != alone
