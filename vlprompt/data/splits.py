"""Splits as pure functions on lists of labels: CoOp's few-shot draw, its base and new classes, our own split.

Sources: Dassl.pytorch `dassl/data/datasets/base_dataset.py::generate_fewshot_dataset`, CoOp
`datasets/oxford_pets.py::subsample_classes`.
"""

import random
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

SPLITS = ("train", "val", "test")
MAX_VAL_SHOTS = 4
TEST_SHARE, VAL_SHARE = 0.3, 0.2


def draw(labels: Sequence[int], shots: int, rng: random.Random) -> list[int]:
    """Positions of `shots` random examples of each class, in the order of the published code.

    Classes come in order of first appearance; a class with fewer than `shots` examples is taken whole, in its order,
    and consumes no random numbers.
    """
    drawn: list[int] = []
    for members in by_class(labels).values():
        drawn += rng.sample(members, shots) if len(members) >= shots else members
    return drawn


def draw_few_shot(
    train_labels: Sequence[int], val_labels: Sequence[int], shots: int, seed: int
) -> tuple[list[int], list[int]]:
    """Positions in train and in val of CoOp's draw: one random generator, train first, at most 4 val shots."""
    rng = random.Random(seed)
    train = draw(train_labels, shots, rng)
    return train, draw(val_labels, min(shots, MAX_VAL_SHOTS), rng)


def short_classes(labels: Sequence[int], shots: int) -> int:
    """The number of classes that occur and have fewer than `shots` examples."""
    return sum(count < shots for count in Counter(labels).values())


def split_labels(train_labels: Sequence[int]) -> tuple[list[int], list[int]]:
    """The base and the new half of the labels in train: sorted, the first ceil(n / 2) are base."""
    labels = sorted(set(train_labels))
    middle = (len(labels) + 1) // 2
    return labels[:middle], labels[middle:]


def split_by_seed(
    groups: Mapping[str, Sequence[Hashable]],
    seed: int,
    *,
    test_share: float = TEST_SHARE,
    val_share: float = VAL_SHARE,
) -> dict[str, tuple[list[int], ...]]:
    """Our split for data without one: positions in train, val and test of each class.

    Each class is shuffled by its own generator, `random.Random(f"{seed} {class}")`, so that classes do not influence
    each other. By default 30 % (rounded to the nearest) are for test, 20 % (rounded down) for val, the rest for train,
    each part in its original order. A single example is for train.
    """
    parts: dict[str, tuple[list[int], ...]] = {}
    for name, members in groups.items():
        order = list(range(len(members)))
        random.Random(f"{seed} {name}").shuffle(order)
        test = int(len(order) * test_share + 0.5)
        val = test + int(len(order) * val_share)
        parts[name] = (sorted(order[val:]), sorted(order[test:val]), sorted(order[:test]))
    return parts


def by_class(labels: Sequence[int]) -> dict[int, list[int]]:
    """Positions of each label, labels in order of first appearance."""
    groups: dict[int, list[int]] = {}
    for position, label in enumerate(labels):
        groups.setdefault(label, []).append(position)
    return groups
