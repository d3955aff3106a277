"""Texts are read from tables and JSON lines; what is wrong is named with its line."""

import json
from pathlib import Path

import pytest

from vlprompt.data import Task, Text
from vlprompt.data.catalog import load_task
from vlprompt.data.readers import read_ag_news, read_sst2, read_texts
from vlprompt.errors import UsageError, VlpromptError

ROWS = [("it rained, a lot", "it was wet", "yes"), ('a "quoted" word', "no word", "no")] * 5


def written(folder: Path, kind: str) -> Path:
    file = folder / f"data.{kind}"
    if kind == "jsonl":
        lines = [json.dumps({"premise": a, "hypothesis": b, "label": c, "idx": 3}) for a, b, c in ROWS]
    elif kind == "tsv":  # GLUE's have lone quotation marks
        lines = ["premise\thypothesis\tlabel", *(f"{a}\t{b}\t{c}" for a, b, c in ROWS)]
    else:
        quoted = [[each.replace('"', '""') for each in row] for row in ROWS]
        lines = ["premise,hypothesis,label", *(f'"{a}","{b}",{c}' for a, b, c in quoted)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_the_same_rows_from_every_kind_of_file(kind: str, tmp_path: Path) -> None:
    listing = read_texts(written(tmp_path, kind))
    assert listing.classes == ("no", "yes")
    found = {example.item: example.label for split in listing.splits for example in split}
    assert found == {Text.of(premise=a, hypothesis=b): int(c == "yes") for a, b, c in ROWS}
    assert [len(split) for split in listing.splits] == [4, 2, 4]


def test_columns_and_classes_can_be_named(tmp_path: Path) -> None:
    file = written(tmp_path, "csv")
    listing = read_texts(file, text_columns=["hypothesis"], classes=["yes", "no"])
    assert {(str(e.item["hypothesis"]), e.label) for e in listing.splits.train} == {("it was wet", 0), ("no word", 1)}  # type: ignore[index, call-overload]
    with pytest.raises(UsageError, match=r"line 2 has no column 'text'; its columns are: premise, hypothesis, label"):
        read_texts(file, text_columns=["text"])
    with pytest.raises(VlpromptError, match=r"line 2: unknown class 'yes'"):
        read_texts(file, classes=["no", "maybe"])


def test_a_folder_has_a_file_for_each_split(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("text\tlabel\nit was good\tgood\nit was bad\tbad\n")
    (tmp_path / "dev.tsv").write_text("text\tlabel\nso good\tgood\n")
    (tmp_path / "test.tsv").write_text("text\nwho knows\n")
    task = Task.from_texts(tmp_path, template="{text} It was {mask}.")
    assert (len(task.train), len(task.val), len(task.test)) == (2, 1, 1)
    assert task.test[0].label == -1
    assert task.words == (("bad",), ("good",))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match="holds no train or test file"):
        read_texts(empty)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "text,label\nx,y,z\n", "line 2: it has not as many columns as the header"),
        ("a.tsv", "text\tlabel\nx\n", "line 2: it has not as many columns as the header"),
        ("a.csv", "text,label\n ,yes\n", "line 2: no text"),
        ("a.jsonl", '{"text": "x", "label": "y"}\n{"text"\n', r"line 2: not JSON \(.+, column"),
        ("a.jsonl", "[1]\n", "line 1: not a JSON object"),
        ("a.txt", "x\n", "is not of the kinds .csv, .tsv, .jsonl"),
        ("a.csv", "text,label\n", "has no classes"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(name: str, text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(VlpromptError, match=said) as caught:
        read_texts(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_sst2_and_what_is_missing_of_it(tmp_path: Path) -> None:
    for part in ("train", "dev", "test"):
        (tmp_path / f"stsa.binary.{part}").write_text("1 a fine film , really\n0 dull .\n")
    listing = read_sst2(tmp_path, ("negative", "positive"))
    assert listing.splits.train[0].item == Text.of(text="a fine film , really")
    assert [example.label for example in listing.splits.test] == [1, 0]
    (tmp_path / "stsa.binary.dev").write_text("1 fine\nwords only\n")
    with pytest.raises(VlpromptError, match=r"stsa\.binary\.dev, line 2: not a label, 0 or 1, and a sentence"):
        read_sst2(tmp_path, ("negative", "positive"))
    (tmp_path / "stsa.binary.dev").unlink()
    with pytest.raises(VlpromptError, match=r"missing file .*stsa\.binary\.dev"):
        read_sst2(tmp_path, ("negative", "positive"))


def test_ag_news_with_and_without_its_training_set(tmp_path: Path) -> None:
    names = ("World", "Sports")
    rows = "".join(f'"{1 + n % 2}","Title {n}","a\\second ""line"" {n}"\n' for n in range(10))
    (tmp_path / "test.csv").write_text(rows)
    alone = read_ag_news(tmp_path, names)
    assert [len(split) for split in alone.splits] == [4, 2, 4]
    assert alone.splits.train[0].item == Text.of(title="Title 0", body='a second "line" 0')
    (tmp_path / "train.csv").write_text(rows)
    assert [len(split) for split in read_ag_news(tmp_path, names).splits] == [8, 2, 10]
    (tmp_path / "test.csv").write_text('"5","x","y"\n')
    with pytest.raises(VlpromptError, match=r"line 1: not a label \(1 to 2\), a title and a body"):
        read_ag_news(tmp_path, names)


@pytest.mark.filterwarnings("ignore::vlprompt.errors.VlpromptWarning")  # the shared copy lacks AG News' training set
def test_the_shared_copies_are_read(shared: Path) -> None:
    sst2, news = load_task("sst2", shared / "data"), load_task("ag_news", shared / "data")
    assert (len(sst2.train), len(sst2.val), len(sst2.test)) == (6920, 872, 1821)
    assert len(news.train) + len(news.val) + len(news.test) == 7600
    assert news.words[3] == ("Tech",)
