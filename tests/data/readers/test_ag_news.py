from pathlib import Path

import pytest

from vlprompt.data.catalog import load_task
from vlprompt.data.readers.ag_news import read_ag_news
from vlprompt.data.readers.listing import DataError
from vlprompt.data.texts import Text


def test_with_and_without_the_training_set(tmp_path: Path) -> None:
    names = ("World", "Sports")
    rows = "".join(f'"{1 + n % 2}","Title {n}","a\\second ""line"" {n}"\n' for n in range(10))
    (tmp_path / "test.csv").write_text(rows)
    alone = read_ag_news(tmp_path, names)
    assert [len(split) for split in alone.splits] == [4, 2, 4]
    assert alone.splits.train[0].item == Text.of(title="Title 0", body='a second "line" 0')
    (tmp_path / "train.csv").write_text(rows)
    assert [len(split) for split in read_ag_news(tmp_path, names).splits] == [8, 2, 10]
    (tmp_path / "test.csv").write_text('"5","x","y"\n')
    with pytest.raises(DataError, match=r"line 1: expected a label \(1 to 2\), a title and a body"):
        read_ag_news(tmp_path, names)


@pytest.mark.filterwarnings("ignore::vlprompt.errors.VlpromptWarning")  # the shared copy lacks the training set
def test_the_shared_copy_is_read(shared: Path) -> None:
    task = load_task("ag_news", shared / "data")
    assert len(task.train) + len(task.val) + len(task.test) == 7600
    assert task.words[3] == ("Tech",)
