from pathlib import Path

import pytest

from vlprompt.data.catalog import load_task
from vlprompt.data.readers.listing import DataError
from vlprompt.data.readers.sst2 import read_sst2
from vlprompt.data.texts import Text


def test_lines_are_a_label_and_a_sentence(tmp_path: Path) -> None:
    for part in ("train", "dev", "test"):
        (tmp_path / f"stsa.binary.{part}").write_text("1 a fine film , really\n0 dull .\n")
    listing = read_sst2(tmp_path, ("negative", "positive"))
    assert listing.splits.train[0].item == Text.of(text="a fine film , really")
    assert [example.label for example in listing.splits.test] == [1, 0]
    (tmp_path / "stsa.binary.dev").write_text("1 fine\nwords only\n")
    with pytest.raises(DataError, match=r"stsa\.binary\.dev, line 2: expected a label, 0 or 1, and a sentence"):
        read_sst2(tmp_path, ("negative", "positive"))
    (tmp_path / "stsa.binary.dev").unlink()
    with pytest.raises(DataError, match=r"missing file .*stsa\.binary\.dev"):
        read_sst2(tmp_path, ("negative", "positive"))


def test_the_shared_copy_is_complete(shared: Path) -> None:
    task = load_task("sst2", shared / "data")
    assert (len(task.train), len(task.val), len(task.test)) == (6920, 872, 1821)
