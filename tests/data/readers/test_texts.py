"""Texts from tables and JSON lines; errors name the line."""

import json
from pathlib import Path

import pytest

from vlprompt.data.readers.texts import read_texts
from vlprompt.data.task import Task
from vlprompt.data.texts import Text
from vlprompt.errors import UsageError, VlpromptError

ROWS = [("it rained, a lot", "it was wet", "yes"), ('a "quoted" word', "no word", "no")] * 5


def written(folder: Path, kind: str) -> Path:
    file = folder / f"data.{kind}"
    if kind == "jsonl":
        lines = [json.dumps({"premise": a, "hypothesis": b, "label": c, "idx": 3}) for a, b, c in ROWS]
    elif kind == "tsv":  # GLUE's have single quotation marks
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


def test_columns_and_classes_are_options(tmp_path: Path) -> None:
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
    ("name", "text", "error"),
    [
        ("a.csv", "text,label\nx,y,z\n", "line 2: 3 columns where the header has 2"),
        ("a.tsv", "text\tlabel\nx\n", "line 2: 1 columns where the header has 2"),
        ("a.csv", "text,label\n ,yes\n", "line 2: no text"),
        ("a.jsonl", '{"text": "x", "label": "y"}\n{"text"\n', r"line 2: not JSON \(.+, column"),
        ("a.jsonl", "[1]\n", "line 1: not a JSON object"),
        ("a.txt", "x\n", "is not of the kinds .csv, .tsv, .jsonl"),
        ("a.csv", "text,label\n", "expected a list of names for the classes"),
    ],
)
def test_errors_name_the_line(name: str, text: str, error: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(VlpromptError, match=error) as caught:
        read_texts(tmp_path / name)
    assert "\n" not in str(caught.value)
