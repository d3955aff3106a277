"""CoOp's published 16-shot draws of Caltech101, recovered from a split that was cut to the images they use.

The cut lists keep, in their published order, exactly the images that seeds 1, 2 and 3 draw. With the full sizes of the
classes our draw must therefore choose, class by class, as many different positions as the cut lists have images; the
k-th smallest of them is the k-th image. One class of a wrong size, or drawn in a wrong order, derails those after it.
"""

import json
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest

from vlprompt.data.splits import draw_few_shot

SEEDS, SHOTS, VAL_SHOTS = (1, 2, 3), 16, 4

# Images of each class in Caltech-101, labels in order (0 is Faces, 99 is yin_yang).
TOTALS = [
    435, 200, 798, 55, 800, 42, 42, 47, 54, 46, 33, 128, 98, 43, 85, 91, 50, 43, 123, 47, 59, 62, 107, 47, 69, 73, 70,
    50, 51, 57, 67, 52, 65, 68, 75, 64, 53, 64, 85, 67, 67, 45, 34, 34, 51, 99, 100, 42, 54, 88, 80, 31, 64, 86, 114,
    61, 81, 78, 41, 66, 43, 40, 87, 32, 76, 55, 35, 39, 47, 38, 45, 53, 34, 57, 82, 59, 49, 40, 63, 39, 84, 57, 35,
    64, 45, 86, 59, 64, 35, 85, 49, 86, 75, 239, 37, 59, 34, 56, 39, 60,
]  # fmt: skip
# The published split: half to train, a fifth to val, both rounded as Python rounds, and the rest to test.
SIZES = {
    "train": [round(total * 0.5) for total in TOTALS],
    "val": [round(total * 0.2) for total in TOTALS],
}
LABELS = {part: [label for label, size in enumerate(sizes) for _ in range(size)] for part, sizes in SIZES.items()}

Cut = dict[str, list[tuple[str, int, str]]]


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "data/caltech-101"


@pytest.fixture(scope="module")
def cut(folder: Path) -> Cut:
    return json.loads((folder / "split_zhou_Caltech101.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def draws() -> dict[str, dict[int, list[int]]]:
    """Positions in the full train and val list that each seed draws."""
    both = {seed: draw_few_shot(LABELS["train"], LABELS["val"], SHOTS, seed) for seed in SEEDS}
    return {"train": {s: train for s, (train, _) in both.items()}, "val": {s: val for s, (_, val) in both.items()}}


def test_the_sizes_are_those_of_the_published_split(cut: Cut) -> None:
    assert (len(TOTALS), len(LABELS["train"]), len(LABELS["val"])) == (100, 4128, 1649)
    test = Counter(label for _, label, _ in cut["test"])
    rest = [total - train - val for total, train, val in zip(TOTALS, SIZES["train"], SIZES["val"], strict=True)]
    assert rest == [test[label] for label in range(100)]


@pytest.mark.parametrize("part", ["train", "val"])
def test_the_seeds_draw_as_many_images_of_each_class_as_were_published(
    cut: Cut, draws: dict[str, dict[int, list[int]]], part: str
) -> None:
    drawn = Counter(LABELS[part][position] for position in set(chain.from_iterable(draws[part].values())))
    assert drawn == Counter(label for _, label, _ in cut[part])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("part", "shots"), [("train", SHOTS), ("val", VAL_SHOTS)])
def test_every_image_of_the_published_draw_is_there(
    folder: Path, cut: Cut, draws: dict[str, dict[int, list[int]]], part: str, shots: int, seed: int
) -> None:
    every = sorted(set(chain.from_iterable(draws[part].values())))
    images = dict(zip(every, cut[part], strict=True))
    published = [images[position] for position in draws[part][seed]]
    assert [label for _, label, _ in published] == [label for label in range(100) for _ in range(shots)]
    assert len({name for name, _, _ in published}) == shots * 100
    assert all((folder / "101_ObjectCategories" / name).is_file() for name, _, _ in published)
