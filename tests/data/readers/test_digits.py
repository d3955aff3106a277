import json
import random
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from vlprompt.data.catalog import load_task
from vlprompt.data.readers.digits import read_digits
from vlprompt.errors import VlpromptError


def test_pixels_are_those_of_scikit_learn() -> None:
    task = load_task("digits").whole()
    digits = load_digits()
    assert len(task.test) == 1797
    assert sorted(example.item for example in task.test) == list(range(1797))
    for example in task.test[::100]:
        image = task.images.open(example.item)
        pixels = np.asarray(image)
        assert (image.mode, image.size) == ("RGB", (8, 8))
        assert np.array_equal(np.rint(pixels[..., 0] * (16 / 255)), digits.images[example.item])
        assert example.label == digits.target[int(str(example.item))]


def test_the_split_follows_its_rule_without_overlap() -> None:
    task = load_task("digits")
    target = load_digits().target
    for digit in range(10):
        order = [int(i) for i in np.flatnonzero(target == digit)]
        random.Random(f"0 {digit}").shuffle(order)
        half = (len(order) + 1) // 2
        for part, expected in (("test", order[:half]), ("val", order[half : half + 20]), ("train", order[half + 20 :])):
            found = [example.item for example in getattr(task, part) if example.label == digit]
            assert found == sorted(expected)
    drawn = task.few_shot(16, seed=1)
    assert not {e.item for e in drawn.train + drawn.val} & {e.item for e in drawn.test}
    assert len(drawn.train) == 160


def test_a_split_for_other_digits_is_refused(tmp_path: Path) -> None:
    (tmp_path / "split.json").write_text(json.dumps({"train": [0], "val": [1], "test": [2]}))
    with pytest.raises(VlpromptError, match="scikit-learn has 1797 digits"):
        read_digits(tmp_path / "split.json")
